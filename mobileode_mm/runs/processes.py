"""The processes of a run: their group, their threads, and one voice for what all of them find wrong."""
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank, init_dist, is_distributed

from ..errors import InputError

#: More than any batch needs; some programs go through all numbers up to the limit.
_MOST_FILES = 65536


class ReportedElsewhere(InputError):
    """An InputError that another process reports to the user."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get('LOCAL_RANK', 0))


def processes_here() -> int:
    """Number of the run's processes on this machine, as torchrun tells it."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', 1))


def raise_open_files() -> int | None:
    """Let this process, and the workers it starts, have as many files open as the system lets a user allow himself.

    Each tensor of a batch that a worker hands over is one. MMEngine raises the usual 1,024 to 4,096.

    Returns:
        How many; None where there is no limit, or none to be known.
    """
    try:
        import resource
    except ImportError:  # no Unix
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (OSError, ValueError):  # macOS names no limit, and has one
            pass
    return None if soft == resource.RLIM_INFINITY else soft


@contextmanager
def one_voice() -> Iterator[None]:
    """Let an InputError that all processes meet be reported by the first process of each machine only."""
    try:
        yield
    except InputError as error:
        if local_rank() > 0:
            raise ReportedElsewhere(str(error)) from error
        raise


@contextmanager
def process_group(cfg: Config) -> Iterator[None]:
    """Join the processes that the config's launcher started, leave the group at the end.

    On a CPU the backend is gloo, and the threads of a machine are shared out among its processes. MMEngine,
    which would initialise the group itself, asks for a GPU; and a group that is not destroyed aborts the
    processes at exit.

    Args:
        cfg: Its ``launcher`` (``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``), and ``env_cfg.dist_cfg`` with
            backend and timeout on GPUs.

    Raises:
        InputError: The launcher's environment is missing, or there are fewer GPUs than processes.
    """
    if cfg.launcher == 'none':
        yield
        return
    with one_voice():
        _join(cfg.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg') or {})
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _join(launcher: str, dist_cfg: dict) -> None:
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise InputError('--launcher pytorch is for processes started by torchrun: use tools/dist_train.sh or '
                         'tools/dist_test.sh')
    gpus = torch.cuda.device_count()
    if gpus:
        if local_rank() >= gpus:
            raise InputError(f'process {local_rank() + 1} of this machine has no GPU: it sees {gpus}')
        init_dist(launcher, **{'backend': 'nccl', **dist_cfg})
        return
    if launcher != 'pytorch':
        raise InputError(f'--launcher {launcher} needs GPUs; on CPUs use tools/dist_train.sh, which uses torchrun')
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() // processes_here())))
    torch.distributed.init_process_group('gloo')


def once_per_machine(check: Callable):
    """Run ``check()`` in the first process of each machine.

    Returns:
        What it returned on the first machine, in every process.

    Raises:
        InputError: What it raised on any machine; in all processes, the first of which reports it.
    """
    result, problem = None, None
    if local_rank() == 0:
        try:
            result = check()
        except InputError as error:
            if not is_distributed():
                raise
            problem = str(error)
    if not is_distributed():
        return result
    outcomes = all_gather_object((result, problem))
    problems = list(dict.fromkeys(problem for _, problem in outcomes if problem))
    if problems:
        raise (InputError if get_rank() == 0 else ReportedElsewhere)('\n'.join(problems))
    return outcomes[0][0]
