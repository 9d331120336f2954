"""A suite from its start, or from where it was stopped, to its table; the command ``suite``."""
import argparse
import contextlib
import fcntl
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from mobileode_mm.data.json_file import read_json
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import INTERRUPTED, InputError, listed
from mobileode_mm.runs.config import DATA_VARIABLE, short_path

from .. import ROOT
from ..machine import commit
from ..output import write_json
from ..speed.networks import FORM
from ..tree_parts import ensure_tree_parts
from .page import html_page
from .processes import WAIT_SECONDS, Processes, share
from .published import beside_published
from .resampling import packed
from .run import DONE, FAILED, Run, checksum, worker_command
from .sittings import taken_over
from .suite import Suite, load_suite, suite_names
from .table import factor_of, markdown, summarize
from .worker import ANSWER, QUESTION, RESAMPLED, SETTINGS

T = TypeVar('T')
RESULTS, TABLE, PAGE, LATENCY = 'results.json', 'results.md', 'results.html', 'latency.json'


def run_suite(suite: str | Path, work_dir: str | Path | None = None, processes: int = 1, amp: bool = False,
              auto_scale_lr: bool = False, jobs: int = 1, only: Sequence[str] = (),
              earlier: Sequence[str | Path] = ()) -> dict | None:
    """Train and evaluate every network of a suite with every seed, and write down what came out.

    Runs that are done are skipped, one that was stopped goes on from its last checkpoint with the figures of a run that
    was not, and one that failed is tried again. Each run has a folder with its config, log, seed and versions; beside
    them stand ``results.json``, ``results.md`` and ``results.html``, brought up to date after each run.

    On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set, and one work dir for all.

    Args:
        suite: Name of a suite, or a file; see :func:`load_suite`.
        work_dir: Folder of the runs; default ``./work_dirs/suites/<suite>``.
        processes: Of this machine, for each run: GPUs, or processes of a CPU.
        amp, auto_scale_lr: As for :func:`mobileode_mm.apis.train`.
        jobs: Runs at once, each with its part of the cores, and where there are GPUs with one of them.
        only: Run these alone, with those that they start from: ``TASK/BACKBONE`` or ``TASK/BACKBONE/seed_N``, as below
            ``runs`` in the folder, where ``*`` stands for anything; none: all. Latency is measured where every
            network is among them.
        earlier: ``results.json`` of other sittings or suites: runs that have ended there with the same settings are
            taken from it and not run, unless the folder has them, or one that is to be run starts from their weights.

    Returns:
        The content of ``results.json``, and its ``folder``; None on machines other than the first.

    Raises:
        InputError: The suite cannot be used, its data are not there, or the folder holds runs with other settings;
            nothing is run then and nothing written.
    """
    given, suite = suite, load_suite(suite)
    for number, what in ((processes, 'processes'), (jobs, 'jobs')):
        if number < 1:
            raise InputError(f'{number} {what}: a whole number of at least 1 is wanted')
    folder = Path(work_dir or Path('work_dirs/suites', suite.name)).expanduser().absolute()
    machines, leads = int(os.environ.get('NNODES', 1)), os.environ.get('NODE_RANK', '0') == '0'
    if jobs > 1 and processes * machines > 1:
        raise InputError(f'{jobs} runs at once, and {processes * machines} processes for each: one of the two is '
                         'possible (--jobs without --nproc and NNODES)')
    runs = _runs(suite, folder, dict(processes=processes * machines, amp=amp, auto_scale_lr=auto_scale_lr))
    chosen = _chosen(runs, only, folder)
    taken = taken_over(runs, earlier)
    worker = worker_command(processes)
    with _alone(folder) as lock, ThreadPoolExecutor(jobs) as pool, Processes(lock) as workers:
        results = earlier_results(folder, suite, runs)
        waiting = _waiting(runs, chosen, results, taken)
        if suite.mini_data and waiting and leads:
            ensure_mini_data()
        if suite.tree_data and waiting and leads:
            ensure_tree_parts()
        for run in waiting:
            run.folder.mkdir(parents=True, exist_ok=True)
        question = _question(suite, bool(waiting))
        facts = {}
        if leads:
            facts = dict(_ask('inspect', question, folder, workers, share(0, jobs)), commit=commit(),
                         command=_command(given, processes, amp, auto_scale_lr, jobs, only, earlier))

        def name_of(run: Run) -> str:
            return f'[{runs.index(run) + 1}/{len(runs)}]'

        def start(run: Run) -> None:
            print(f'{name_of(run)} {run.name} (log: {short_path(run.folder)})', flush=True)
            results[runs.index(run)] = None
            if leads:
                run.begin()

        def execute(run: Run, slot: int) -> tuple[str, str, float]:
            begin = time.monotonic()
            outcome = run.execute(lambda args, log: workers.run([*worker, *args], log, share(slot, jobs)))
            return *outcome, time.monotonic() - begin

        for run, (status, reason, seconds) in _ended(waiting, pool, jobs, start, execute):
            if leads:
                results[runs.index(run)] = result = run.keep(status, reason, facts['machine'])
                print(f'    {f"{name_of(run)} " * (jobs > 1)}{_outcome(run, result)}, {seconds:.0f} s', flush=True)
                _write(folder, suite, runs, results, facts, taken)
        if not leads:
            return None
        if {run.network.slug for run in chosen} == {network.slug for network in suite.networks}:
            _measure_latency(folder, question, facts['machine'], workers)
        return dict(_write(folder, suite, runs, results, facts, taken), folder=str(folder))


def _runs(suite: Suite, folder: Path, how: dict) -> list[Run]:
    """Every network with every seed, after the one that it starts from.

    Seed by seed, and backbone by backbone: what a suite has that was stopped can be compared.
    """
    runs, backbones = {}, list(dict.fromkeys(network.backbone for network in suite.networks))
    for seed in suite.seeds:
        for network in sorted(suite.networks, key=lambda network: backbones.index(network.backbone)):
            base = runs.get((network.starts_from, network.backbone, seed))
            runs[network.task, network.backbone, seed] = Run(
                network, seed, folder / 'runs' / network.slug / f'seed_{seed}', **how, base=base)
    return list(runs.values())


def _waiting(runs: list[Run], chosen: list[Run], results: list[dict | None], taken: Mapping[Run, dict]) -> list[Run]:
    """The runs that are to be run, each after the one that it starts from."""
    own = dict(zip(runs, results))
    waiting = {run for run in chosen if (run not in taken if own[run] is None else own[run]['status'] == FAILED)}
    for run in list(waiting):
        while run.base and own[run.base] is None:  # what was taken over left no weights here
            run = run.base
            waiting.add(run)
    return [run for run in runs if run in waiting]


def _chosen(runs: list[Run], only: Sequence[str], folder: Path) -> list[Run]:
    """The runs that are named, with those that they start from; all where none is.

    Raises:
        InputError: A name is of no run.
    """
    names = [run.folder.relative_to(folder / 'runs').as_posix() for run in runs]
    chosen = []
    for wanted in only:
        found = [run for run, name in zip(runs, names) if fnmatchcase(f'{name}/', f'{wanted.strip("/")}/*')]
        if not found:
            known = dict.fromkeys(name.rpartition('/')[0] for name in names)
            raise InputError(f'--only {wanted}: no run of the suite is named so; there are {listed(known, 99)}, each '
                             'with /seed_N behind it for one seed alone')
        for run in found:
            while run:  # what it starts from may itself start from another
                chosen.append(run)
                run = run.base
    return chosen if only else runs


def _ended(runs: list[Run], pool: ThreadPoolExecutor, jobs: int, start: Callable[[Run], None],
           execute: Callable[[Run, int], T]) -> Iterator[tuple[Run, T]]:
    """Each run once it has ended, with what ``execute(run, slot)`` returned; ``jobs`` at once, a run after its base.

    ``start(run)`` is called before that, in the caller's thread.
    """
    waiting, active, slots = list(runs), {}, list(range(jobs))
    while waiting or active:
        unfinished = [*waiting, *(run for run, _ in active.values())]
        ready = [run for run in waiting if run.base not in unfinished]
        for run in ready[:len(slots)]:
            waiting.remove(run)
            start(run)
            slot = slots.pop(0)
            active[pool.submit(execute, run, slot)] = run, slot
        for future in wait(active, return_when=FIRST_COMPLETED).done:
            run, slot = active.pop(future)
            slots.append(slot)
            yield run, future.result()


def earlier_results(folder: Path, suite: Suite, runs: list[Run]) -> list[dict | None]:
    """Results of the runs so far, None for a run that has not ended.

    Raises:
        InputError: A run of the folder has other settings, the folder is another suite's, or a file in it is broken;
            names all of it.
    """
    problems = []

    def attempt(read):
        try:
            return read()
        except InputError as error:
            problems.append(str(error))

    results = [attempt(run.result) for run in runs]
    for name in (LATENCY, RESULTS):
        kept = attempt(lambda name=name: read_json(folder / name)) if (folder / name).is_file() else None
    if kept is not None and kept['suite'] != suite.name:
        problems.append(f'{short_path(folder)} holds the suite {kept["suite"]}, not {suite.name}')
    if problems:
        raise InputError('\n'.join([
            *dict.fromkeys(problems), f'Nothing was run and nothing written. To repeat a run, remove its folder; to '
            f'measure latency again, remove {LATENCY}; or choose another --work-dir']))
    return results


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, which the processes of a run inherit: none of them is left when another suite starts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / f'.lock_{os.environ.get("NODE_RANK", "0")}', 'w')  # noqa: SIM115
    except OSError as error:
        raise InputError(f'the work dir {folder} cannot be written ({error.strerror}); choose another with --work-dir'
                         ) from error
    with file:
        for _ in range(WAIT_SECONDS * 10):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(.1)
        else:
            raise InputError(f'another suite is at work in {folder}; wait for it, or choose another --work-dir')
        yield file.fileno()


def _ask(task: str, question: dict, folder: Path, workers: Processes,
         environment: dict[str, str] | None = None) -> dict:
    """Answer of a worker that looks at networks of the suite."""
    write_json(folder / QUESTION, question)
    (folder / ANSWER).unlink(missing_ok=True)
    log = folder / f'.{task}.log'
    log.unlink(missing_ok=True)
    code = workers.run([*worker_command(1)[:3], task, str(folder)], log, environment)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        text = log.read_text(errors='replace')
        raise InputError(text.split('error: ', 1)[1].strip() if 'error: ' in text and code == 2 else
                         f'looking at the networks of the suite failed:\n{text.strip()}')
    answer = read_json(folder / ANSWER)
    for path in (folder / QUESTION, folder / ANSWER, log):
        path.unlink()
    return answer


def _question(suite: Suite, trains: bool) -> dict:
    return dict(trains=trains, networks=[
        dict(task=network.task, backbone=network.backbone, config=str(network.config),
             cfg_options=network.cfg_options, input_size=network.input_size, starts_from=network.starts_from)
        for network in suite.networks])


def _measure_latency(folder: Path, question: dict, machine: str, workers: Processes) -> None:
    """Time all networks side by side, unless that was done for the same ones on the same machine."""
    of = checksum(dict(networks=question['networks'], machine=machine, form=FORM))
    if (folder / LATENCY).is_file() and read_json(folder / LATENCY)['of'] == of:
        return
    print('measuring latency', flush=True)
    write_json(folder / LATENCY, dict(of=of, **_ask('latency', question, folder, workers)))


def _write(folder: Path, suite: Suite, runs: list[Run], results: list[dict | None], facts: dict,
           taken: Mapping[Run, dict]) -> dict:
    """Write table, page and results; returns what ``results.json`` then holds."""
    latency = read_json(folder / LATENCY) if (folder / LATENCY).is_file() else None
    entries = [taken[run] if result is None and run in taken else _entry(run, result or {}, folder)
               for run, result in zip(runs, results)]
    content = dict(suite=suite.name, description=suite.description, seeds=list(suite.seeds),
                   starts_from={network.task: network.starts_from for network in suite.networks if network.starts_from},
                   reference=suite.reference, processes=runs[0].processes, runs=entries,
                   left_out=[dict(task=task, backbone=backbone, reason=reason)
                             for task, backbone, reason in suite.left_out],
                   **{key: facts[key] for key in ('command', 'machine', 'commit')},
                   networks=summarize(suite, entries, facts['costs'], latency), latency=latency)
    AtomicLocalBackend().put_text(markdown(content), folder / TABLE)
    AtomicLocalBackend().put_text(html_page(content), folder / PAGE)
    write_json(folder / RESULTS, content)
    return content


def _entry(run: Run, result: dict, folder: Path) -> dict:
    """What ``results.json`` says of a run."""
    entry = dict(
        task=run.network.task, backbone=run.network.backbone, seed=run.seed,
        folder=str(run.folder.relative_to(folder)), config=str(short_path(run.network.config)),
        status=result.get('status', 'not run yet'), reason=result.get('reason', ''), metrics=result.get('metrics'),
        curve=result.get('curve'), machine=result.get('machine'), commit=result.get('commit'))
    if result:
        entry['identity'] = read_json(run.folder / SETTINGS)['identity']
    if entry['status'] == DONE and (run.folder / RESAMPLED).is_file():
        entry['resampled'] = {name: packed([factor_of(name) * value for value in values])
                              for name, values in read_json(run.folder / RESAMPLED).items()
                              if all(map(math.isfinite, values))}
    return entry


def _outcome(run: Run, result: dict) -> str:
    if result['status'] == DONE:
        return ', '.join(f'{name} {result["metrics"][name]:g}' for name in run.network.metrics)
    return f'{result["status"]}: {result["reason"]}'


def _command(suite: str | Path, processes: int, amp: bool, auto_scale_lr: bool, jobs: int,
             only: Sequence[str], earlier: Sequence[str | Path]) -> str:
    flags = [f'--nproc {processes}'] * (processes > 1) + ['--amp'] * amp + ['--auto-scale-lr'] * auto_scale_lr
    flags += [f'--jobs {jobs}'] * (jobs > 1)
    flags += [f'{flag} {shlex.join(map(str, values))}' for flag, values in (('--only', only), ('--earlier', earlier))
              if values]
    return ' '.join(['mobileode suite', str(suite), *flags])


def ensure_mini_data() -> None:
    """The mini data where the configs will look for them, unless something is there."""
    root = os.environ.get(DATA_VARIABLE)
    places = [Path(root).expanduser() / 'mini'] if root else [Path('data/mini'), ROOT / 'data/mini']
    if any(place.exists() for place in places):
        return
    from mobileode_mm.data import make_mini_data
    print(f'making mini data in {places[-1]}', flush=True)
    make_mini_data(places[-1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    listing = '\n'.join(f'  {name:<22}{line}' for name, line in suite_names().items())
    parser.description = ('Train and evaluate every network of a suite, and write a table and a page of the results. A '
                          'suite that was stopped goes on when it is started again.')
    parser.epilog = f'suites:\n{listing}'
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('suite', help='name of a suite, or a file')
    parser.add_argument('--work-dir', help='folder of the runs (default: ./work_dirs/suites/<suite>)')
    parser.add_argument('--nproc', type=int, default=1, metavar='N',
                        help='GPUs, or processes of a CPU, that share each run (default: 1)')
    parser.add_argument('--jobs', type=int, default=1, metavar='N',
                        help='runs at once, each with its part of the cores and, where there are any, one GPU '
                        '(default: 1)')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rates by the batch size')
    parser.add_argument('--only', nargs='+', default=[], metavar='TASK/BACKBONE',
                        help="run these alone, as their folders below runs are named, or TASK/BACKBONE/seed_N, where * "
                        "stands for anything ('*/seed_0'); latency is measured where every network is among them")
    parser.add_argument('--earlier', nargs='+', default=[], metavar='RESULTS',
                        help='results.json of other sittings or suites: runs with the same settings are taken from it')


def run(args: argparse.Namespace) -> int:
    """Run a suite and print its table; returns the exit status, which is 1 where a run failed."""
    try:
        results = run_suite(args.suite, args.work_dir, args.nproc, args.amp, args.auto_scale_lr, args.jobs,
                            args.only, args.earlier)
    except KeyboardInterrupt:
        print('the same command goes on', file=sys.stderr)
        raise
    if results is None:
        return 0
    folder = Path(results['folder'])
    print(f'\n{(folder / TABLE).read_text()}')
    print(*beside_published(results), sep='\n')
    print(', '.join(short_path(folder / name) for name in (RESULTS, TABLE, PAGE)))
    return int(any(run['status'] == FAILED for run in results['runs']))
