"""The command line of the suites."""
import argparse

from mobileode_mm.errors import exit_status
from mobileode_mm.runs.config import short_path

from .benchmark import PAGE, RESULTS, TABLE, run_suite
from .runs import FAILED
from .suite import suite_names


def main(argv: list[str] | None = None) -> int:
    """Run a suite; returns the exit status, which is 1 where a run failed."""
    listing = '\n'.join(f'  {name:<22}{line}' for name, line in suite_names().items())
    parser = argparse.ArgumentParser(
        description='Train and evaluate every network of a suite, and write a table and a page of the results. A suite '
        'that was stopped goes on when it is started again.', epilog=f'suites:\n{listing}',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('suite', help='name of a suite, or a file')
    parser.add_argument('--work-dir', help='folder of the runs (default: ./work_dirs/benchmark/<suite>)')
    parser.add_argument('--nproc', type=int, default=1, metavar='N',
                        help='GPUs, or processes of a CPU, that share each run (default: 1)')
    parser.add_argument('--jobs', type=int, default=1, metavar='N',
                        help='runs at once, each with its part of the cores and, where there are any, one GPU '
                        '(default: 1)')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rates by the batch size')
    args = parser.parse_args(argv)

    def command() -> int:
        results = run_suite(args.suite, args.work_dir, args.nproc, args.amp, args.auto_scale_lr, args.jobs)
        if results is None:
            return 0
        folder = results['folder']
        with open(f'{folder}/{TABLE}') as file:
            print(f'\n{file.read()}')
        print(', '.join(short_path(f'{folder}/{name}') for name in (RESULTS, TABLE, PAGE)))
        return int(any(run['status'] == FAILED for run in results['runs']))

    return exit_status(command, 'stopped; the same command goes on')
