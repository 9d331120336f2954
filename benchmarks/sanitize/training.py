"""The training that once died of a damaged heap, under guard pages: ``python -m benchmarks.sanitize.training``.

DeepLabV3 with MobileODE V2 on the mini data: output stride 8, crops of 96 px, batches of 8, two threads, by the Runner,
with the library of kernels that every training here takes. A process that is stopped goes on from its last epoch when
the command is given again; the iterations are counted over all of them.
"""
import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import ROOT
from benchmarks.machine import describe_machine
from benchmarks.output import write_json
from benchmarks.sanitize import guard
from mobileode_mm.cli import exit_status
from mobileode_mm.data.json_file import read_json

CONFIG = ROOT / 'configs/deeplabv3_mobileode_v2_mini.py'
#: Batches of 8 in an epoch of the mini data.
EPOCH = 50
THREADS = 2


def run(iterations: int, work_dir: Path) -> dict:
    """Train for as many epochs as these iterations need, and note every process that it took in ``training.json``.

    Returns:
        ``iterations`` that were done; ``processes``: of each the ``status`` it ended with, the memory it ``guarded`` or
        left ``unguarded``, None where it came to no end; ``last_loss``; ``config``, ``machine``, ``commit``.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    out = work_dir / 'training.json'
    content = read_json(out) if out.is_file() else dict(processes=[])
    epochs = -(-iterations // EPOCH)
    counted = work_dir / 'guarded.json'
    counted.unlink(missing_ok=True)
    env = with_paths({**guard.environment(guard.build_guard(work_dir), 'behind'), 'OMP_NUM_THREADS': str(THREADS)})
    with open(work_dir / 'training.txt', 'a') as log:
        done = subprocess.run([sys.executable, '-X', 'faulthandler', '-m', 'benchmarks.sanitize.training', '--child',
                               '--iterations', str(EPOCH * epochs), '--work-dir', str(work_dir)],
                              env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    guarded = read_json(counted) if counted.is_file() else dict(guarded=None, unguarded=None)
    records = [json.loads(line) for path in sorted(work_dir.glob('run/*/vis_data/scalars.json'))
               for line in path.read_text().splitlines()]
    losses = [record['loss'] for record in records if 'loss' in record]  # a validation has none
    content.update(
        iterations=max((record['step'] for record in records), default=0),
        last_loss=losses[-1] if losses else None, threads=THREADS,
        config=str(CONFIG.relative_to(ROOT)), machine=describe_machine())
    content['processes'].append(dict(status=done.returncode, **guarded))
    write_json(out, content)
    return content


def with_paths(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that imports this checkout, with these variables."""
    return {**os.environ, **variables, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
            # Threads that sleep while they wait for each other leave the cores to other programs.
            'OMP_WAIT_POLICY': 'passive'}


def _child(iterations: int, work_dir: Path) -> None:
    from mobileode_mm.apis import train
    epochs = iterations // EPOCH
    train(CONFIG, work_dir / 'run', resume=True, cfg_options={
        'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs + 1, 'param_scheduler.1.T_max': epochs,
        'param_scheduler.1.end': epochs, 'default_hooks.logger.interval': 10})
    write_json(work_dir / 'guarded.json', guard.counts())


def markdown(content: dict) -> str:
    """One sentence on it."""
    faults = [process['status'] for process in content['processes'] if process['status']]
    ends = f'it ended with status {", ".join(map(str, faults))}' if faults else 'no fault'
    return (f'`{content["config"]}` (output stride 8, crops of 96 px, batches of 8), {content["threads"]} threads, '
            f'guard pages behind all memory: {content["iterations"]} iterations, {ends}; {content["machine"]}.')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.sanitize.training',
                                     description='Train DeepLabV3 with MobileODE V2 under guard pages.')
    parser.add_argument('--iterations', type=int, default=3000, metavar='N')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sanitize/training'))
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return exit_status(lambda: _child(args.iterations, args.work_dir))
    return exit_status(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    content = run(args.iterations, args.work_dir)
    print(markdown(content))
    return 0 if content['iterations'] >= args.iterations and not content['processes'][-1]['status'] else 1


if __name__ == '__main__':
    sys.exit(main())
