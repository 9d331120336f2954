"""The CPU kernels under sanitizers and guard pages: ``make sanitize``, or ``python -m benchmarks.sanitize``.

Each part builds the C++ anew and runs the same cases (:mod:`.cases`) in a process of its own, which ends at the first
wrong access. Results are compared with the plain solver as well. Exit status 1 where anything was found.
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import commit, describe_machine
from benchmarks.output import put_into_page, table, write_json
from benchmarks.sanitize import training
from benchmarks.sanitize.builds import PARTS, Part
from mobileode_mm.cli import exit_status
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError
from mobileode_mm.ode.backends.build import VARIABLE
from mobileode_mm.ode.backends.compiler import NativeUnavailable

MARK = 'sanitize'
#: Lines of a report that are kept.
KEPT = 40


def run_part(part: Part, work_dir: Path, name: str, seed: int, every: int) -> dict:
    """Build, run, and look at what is left.

    Args:
        part: One of :data:`.builds.PARTS`.
        work_dir: Of all parts; each has a folder there, of its name, and each library.
        name: Of the part.
        seed, every: Which cases.

    Returns:
        ``cases`` that were run, those with ``two_threads``, the largest ``sides`` in and out, ``seconds`` without the
        building; ``fault``: None, or the report with the case in which it came, or the results that were wrong;
        ``absent``: why it could not run.
    """
    row = dict(title=part.title, compiler=part.compiler, flags=[*part.flags, f'-march={part.processor}'],
               commit=commit(), cases=0, two_threads=0, sides=[0, 0], seconds=0, fault=None, absent=part.absent())
    if row['absent']:
        return row
    folder = work_dir.resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    case, done_file = folder / 'case.txt', folder / 'done.json'
    case.unlink(missing_ok=True)
    done_file.unlink(missing_ok=True)
    try:
        library = part.library(work_dir.resolve() / 'libraries')
    except NativeUnavailable as error:
        raise InputError(f'{part.title}: {error}') from error
    begun = time.monotonic()
    command = [sys.executable, '-X', 'faulthandler', '-m', 'benchmarks.sanitize.cases', str(folder),
               '--seed', str(seed), '--every', str(every * part.every)]
    done = subprocess.run(command, env=training.with_paths({**part.environment(folder), VARIABLE: str(library)}),
                          capture_output=True, text=True, errors='replace', check=False)
    row['seconds'] = round(time.monotonic() - begun)
    if done.returncode or not done_file.is_file():
        row['fault'] = '\n'.join([f'status {done.returncode} in {case.read_text() if case.is_file() else "the start"}',
                                  *done.stderr.splitlines()[:KEPT]])
        return row
    found = read_json(done_file)
    wrong = found.pop('wrong')
    return {**row, **found, 'fault': f'wrong: {wrong[:5]}' if wrong else None}


def markdown(content: dict) -> str:
    """What was covered, part by part, and the training, where its results are there."""
    def cells(row: dict) -> list[str]:
        result = f'not run: {row["absent"]}' if row['absent'] else 'a fault' if row['fault'] else 'no fault'
        flags = ' '.join(flag for flag in row['flags'] if flag.startswith(('-O', '-march')))
        return [row['title'], f'{row["compiler"]} {flags}', str(row['cases']), str(row['two_threads']),
                f'{row["sides"][0]}, {row["sides"][1]}', str(row['seconds']), result]

    rows = content['parts'].values()
    commits = ', '.join(dict.fromkeys(str(row['commit']) for row in rows))
    lines = [f'Commit {commits}, seed {content["seed"]}; {content["machine"]}.', '',
             table(('checked by', 'compiled by', 'cases', 'with two threads', 'largest sides', 'seconds', 'result'),
                   list(map(cells, rows)))]
    return '\n'.join([*lines, '', training.markdown(content['training'])] if content['training'] else lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.sanitize',
                                     description='Run the CPU kernels under sanitizers and guard pages.')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS), metavar='PART',
                        help=f'of {", ".join(PARTS)} (default: all); results of the others are kept')
    parser.add_argument('--every', type=int, default=1, metavar='N', help='run every n-th case only')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sanitize'))
    parser.add_argument('--page', type=Path, metavar='FILE', help='put the table into this page, between its marks, '
                        'with what benchmarks.sanitize.training found in its own work dir')
    args = parser.parse_args(argv)
    return exit_status(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    if args.every < 1:
        raise InputError(f'--every {args.every} is under 1')
    out = args.work_dir / 'sanitize.json'
    same = dict(seed=args.seed, every=args.every, machine=describe_machine())
    for name in args.parts:
        row = run_part(PARTS[name], args.work_dir, name, args.seed, args.every)
        content = read_json(out) if out.is_file() else {}  # which another process may have written meanwhile
        if {name: content.get(name) for name in same} != same:
            content = dict(same, parts={})
        content['parts'][name] = row
        result = row['absent'] or row['fault'] or 'no fault'
        print(f'{name}: {row["cases"]} cases, {row["seconds"]} s: {result}', flush=True)
        write_json(out, content)
    trained = args.work_dir / 'training' / 'training.json'
    content['training'] = read_json(trained) if trained.is_file() else None
    text = markdown(content)
    print(text)
    if args.page:
        put_into_page(args.page, MARK, content, text)
    return 1 if any(row['fault'] for row in content['parts'].values()) else 0


if __name__ == '__main__':
    sys.exit(main())
