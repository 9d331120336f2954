"""A suite from its start, or from where it was stopped, to its table."""
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import INTERRUPTED, InputError
from mobileode_mm.runs.config import DATA_VARIABLE, checkout_root, short_path

from .page import html_page
from .processes import WAIT_SECONDS, Processes, Steps, share
from .runs import DIVERGED, DONE, FAILED, RESULT, Run, commit, worker_command
from .seal import digest, file_digest, read_sealed, write_sealed
from .suite import Suite, load_suite
from .table import markdown, summarize
from .worker import ANSWER, QUESTION

RESULTS, TABLE, PAGE, LATENCY = 'results.json', 'results.md', 'results.html', 'latency.json'


def run_suite(suite: str | Path, work_dir: str | Path | None = None, processes: int = 1, amp: bool = False,
              auto_scale_lr: bool = False, jobs: int = 1) -> dict | None:
    """Train and evaluate every network of a suite with every seed, and write down what came out.

    Runs that are done are skipped, one that was stopped goes on from its last checkpoint with the figures of a run that
    was not, and one that failed is tried again. Each run has a folder with its config, log, seed and versions; beside
    them stand ``results.json``, ``results.md`` and ``results.html``, brought up to date after each run. A result that
    is not what its run left stops everything before anything is written.

    On several machines, start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set, and one work dir for all.

    Args:
        suite: Name of a suite, or a file; see :func:`load_suite`.
        work_dir: Folder of the runs; default ``./work_dirs/benchmark/<suite>``.
        processes: Of this machine, for each run: GPUs, or processes of a CPU.
        amp, auto_scale_lr: As for :func:`mobileode_mm.apis.train`.
        jobs: Runs at once, each with its part of the cores, and where there are GPUs with one of them.

    Returns:
        The content of ``results.json``, and its ``folder``; None on machines other than the first.

    Raises:
        InputError: The suite cannot be used, its data are not there, or results were changed.
    """
    told, suite = suite, load_suite(suite)
    for number, what in ((processes, 'processes'), (jobs, 'jobs')):
        if number < 1:
            raise InputError(f'{number} {what}: a whole number of at least 1 is wanted')
    folder = Path(work_dir or Path('work_dirs/benchmark', suite.name)).expanduser().absolute()
    machines, leads = int(os.environ.get('NNODES', 1)), os.environ.get('NODE_RANK', '0') == '0'
    if jobs > 1 and processes * machines > 1:
        raise InputError(f'{jobs} runs at once, and {processes * machines} processes for each: one of the two is '
                         'possible (--jobs without --nproc and NNODES)')
    runs = _runs(suite, folder, dict(processes=processes * machines, amp=amp, auto_scale_lr=auto_scale_lr))
    command = worker_command(processes)
    with _alone(folder) as lock:
        workers = Processes(lock)
        results = verify(folder, suite, runs)
        waiting = [run for run, result in zip(runs, results) if result is None or result['status'] == FAILED]
        if suite.mini_data and waiting and leads:
            _make_mini_data()
        for run in waiting:
            run.folder.mkdir(parents=True, exist_ok=True)
        question = _question(suite, bool(waiting))
        facts = {}
        if leads:
            facts = dict(_ask('inspect', question, folder, workers, share(0, jobs)), commit=commit(),
                         command=_command(told, processes, amp, auto_scale_lr, jobs))

        unfinished = {run.folder for run in waiting}

        def execute(run: Run) -> Steps:
            while run.base and run.base.folder in unfinished:
                yield None
            number = runs.index(run)
            which = f'[{number + 1}/{len(runs)}]'
            print(f'{which} {run.name} (log: {short_path(run.folder)})', flush=True)
            begin, results[number] = time.monotonic(), None
            yield from run.execute(facts.get('machine'), leads)
            unfinished.remove(run.folder)
            if leads:
                results[number] = run.result()
                print(f'    {f"{which} " * (jobs > 1)}{_told(run, results[number])}, {time.monotonic() - begin:.0f} s',
                      flush=True)
                _write(folder, suite, runs, results, facts)

        workers.run_all(command, (partial(execute, run) for run in waiting), jobs)
        if not leads:
            return None
        _measure_latency(folder, question, facts['machine'], workers)
        _write(folder, suite, runs, results, facts)
        return dict(read_sealed(folder / RESULTS), folder=str(folder))


def _runs(suite: Suite, folder: Path, how: dict) -> list[Run]:
    """Every network with every seed, after the one that it starts from."""
    runs = {}
    for network in suite.networks:
        for seed in suite.seeds:
            base = runs.get((network.starts_from, network.backbone, seed))
            runs[network.task, network.backbone, seed] = Run(
                network, seed, folder / 'runs' / network.slug / f'seed_{seed}', **how, base=base)
    return list(runs.values())


def verify(folder: Path, suite: Suite, runs: list[Run]) -> list[dict | None]:
    """Results of the runs so far, None for a run that has not ended.

    Raises:
        InputError: Something in the folder is not as this program left it; names all of it.
    """
    results, problems, listed_runs = [], [], {}

    def attempt(read):
        try:
            return read()
        except InputError as error:
            problems.append(str(error))

    for run in runs:
        results.append(attempt(run.result))
    for name in (LATENCY, RESULTS):
        kept = attempt(lambda name=name: read_sealed(folder / name)) if (folder / name).is_file() else None
    if kept is not None:
        if kept['suite'] != suite.name:
            problems.append(f'{short_path(folder)} holds the suite {kept["suite"]}, not {suite.name}')
        for name, known in kept['files'].items():
            if (folder / name).is_file() and file_digest(folder / name) not in known:
                problems.append(f'{short_path(folder / name)} was changed since it was written')
        listed_runs = {run['folder']: run for run in kept['runs']}
    for run, result in zip(runs, results):
        told = listed_runs.get(str(run.folder.relative_to(folder)))
        if result and told and told['status'] in (DONE, DIVERGED) and told['sha256'] != result['sha256']:
            problems.append(f'{short_path(run.folder / RESULT)} is another result than that in {RESULTS}')
    if problems:
        raise InputError('\n'.join([
            *dict.fromkeys(problems), f'Nothing was run and nothing written. To repeat a run, remove its folder and '
            f'{short_path(folder)}/results.*; or choose another --work-dir']))
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
            raise InputError(f'another benchmark is at work in {folder}; wait for it, or choose another --work-dir')
        yield file.fileno()


def _ask(task: str, question: dict, folder: Path, workers: Processes,
         environment: dict[str, str] | None = None) -> dict:
    """Answer of a worker that looks at networks of the suite."""
    AtomicLocalBackend().put_text(json.dumps(question), folder / QUESTION)
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
    answer = read_sealed(folder / ANSWER)
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
    of = digest(dict(networks=question['networks'], machine=machine))
    if (folder / LATENCY).is_file() and read_sealed(folder / LATENCY)['of'] == of:
        return
    print('measuring latency', flush=True)
    measured = _ask('latency', question, folder, workers)
    measured.pop('sha256')
    write_sealed(folder / LATENCY, dict(of=of, **measured))


def _write(folder: Path, suite: Suite, runs: list[Run], results: list[dict | None], facts: dict) -> None:
    latency = read_sealed(folder / LATENCY) if (folder / LATENCY).is_file() else None
    entries = []
    for run, result in zip(runs, results):
        result = result or {}
        entries.append(dict(
            task=run.network.task, backbone=run.network.backbone, seed=run.seed,
            folder=str(run.folder.relative_to(folder)), config=str(short_path(run.network.config)),
            status=result.get('status', 'not run yet'), reason=result.get('reason', ''), metrics=result.get('metrics'),
            machine=result.get('machine'), commit=result.get('commit'), sha256=result.get('sha256')))
    content = dict(suite=suite.name, description=suite.description, seeds=list(suite.seeds),
                   starts_from={network.task: network.starts_from for network in suite.networks if network.starts_from},
                   processes=runs[0].processes, runs=entries,
                   **{key: facts[key] for key in ('command', 'machine', 'commit')},
                   networks=summarize(suite, entries, facts['costs'], latency), latency=latency)
    texts = {TABLE: markdown(content), PAGE: html_page(content)}
    known = {}
    for name, text in texts.items():
        # Killed between two files, the one before is known as well as the new one.
        before = [file_digest(folder / name)] if (folder / name).is_file() else []
        AtomicLocalBackend().put_text(text, folder / f'.{name}')
        known[name] = list(dict.fromkeys([file_digest(folder / f'.{name}'), *before]))
    write_sealed(folder / RESULTS, dict(content, files=known))
    for name in texts:
        os.replace(folder / f'.{name}', folder / name)


def _told(run: Run, result: dict) -> str:
    if result['status'] == DONE:
        return ', '.join(f'{name} {result["metrics"][name]:g}' for name in run.network.metrics)
    return f'{result["status"]}: {result["reason"]}'


def _command(suite: str | Path, processes: int, amp: bool, auto_scale_lr: bool, jobs: int) -> str:
    flags = [f'--nproc {processes}'] * (processes > 1) + ['--amp'] * amp + ['--auto-scale-lr'] * auto_scale_lr
    flags += [f'--jobs {jobs}'] * (jobs > 1)
    return ' '.join(['python tools/benchmark.py', str(suite), *flags])


def _make_mini_data() -> None:
    """The mini data where the configs will look for them, unless something is there."""
    root = os.environ.get(DATA_VARIABLE)
    places = [Path(root).expanduser() / 'mini'] if root else [Path('data/mini')]
    if not root and checkout_root():
        places.append(checkout_root() / 'data/mini')
    if any(place.exists() for place in places):
        return
    from mobileode_mm.data import make_mini_data
    print(f'making mini data in {places[-1]}', flush=True)
    make_mini_data(places[-1])
