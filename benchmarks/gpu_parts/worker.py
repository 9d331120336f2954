"""What runs in a process of its own: ``python -m benchmarks.gpu_parts.worker FOLDER PART... --until T``.

A kernel that reads or writes where it may not leaves a CUDA context in which nothing works any more. The process then
ends with :data:`POISONED`, and is started again for the cases that are left.
"""
import argparse
import importlib
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

from . import PARTS
from .part import Plan, journal_of

#: Exit status of a process whose CUDA context is lost.
POISONED = 3


def work(plan: Plan, part: str, shard: int, shards: int) -> bool:
    """Run the cases of one of ``shards`` processes that have not begun yet; returns whether CUDA still works."""
    module = importlib.import_module(f'.{part}', __package__)
    journal = journal_of(plan.folder, part, shard)
    begun, _ = journal.read()
    groups: dict[str, int] = {}
    for case in module.cases(plan):
        if groups.setdefault(case.group, len(groups)) % shards != shard or case.name in begun:
            continue
        if not plan.seconds_left():
            return True
        journal.begin(case.name)
        begin = time.perf_counter()
        try:
            row = case.run()
        except subprocess.TimeoutExpired:  # a command that had as long as there was: no fault
            return True
        except Exception as error:  # whatever it is, the next case may do
            print(f'{part}, {case.name}:\n{traceback.format_exc()}', flush=True)
            row = dict(error=f'{type(error).__name__}: {(str(error).strip().splitlines() or [""])[0][:300]}')
        journal.end(case.name, {**row, 'seconds': round(time.perf_counter() - begin, 2)})
        if not _works(plan.device):
            return False
    return True


def _works(device: torch.device) -> bool:
    if device.type != 'cuda':
        return True
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return bool(torch.ones(1, device=device).item() == 1)
    except RuntimeError as error:
        print(f'the CUDA context is lost: {error}', flush=True)
        return False


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('parts', nargs='+', choices=PARTS)
    parser.add_argument('--until', type=float, required=True)
    parser.add_argument('--shard', type=int, default=0)
    parser.add_argument('--shards', type=int, default=1)
    parser.add_argument('--dry-run', action='store_true')
    args = parser.parse_args(argv)
    plan = Plan(args.folder, torch.device('cpu' if args.dry_run else 'cuda:0'), args.dry_run, args.until)
    for part in args.parts:
        if not work(plan, part, args.shard, args.shards):
            return POISONED
    return 0


if __name__ == '__main__':
    sys.exit(main())
