"""A validation that a run was stopped in is repeated when the run is resumed."""
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from .atomic_backend import AtomicLocalBackend

#: File in the work dir that holds the number of iterations before the last validation that came to its end.
MARKER = 'last_validation'


@HOOKS.register_module()
class UnfinishedValidationHook(Hook):
    """Repeat the validation after the checkpoint that a run is resumed from, unless it came to its end.

    MMEngine writes the checkpoint of an epoch before its validation, and a resumed run begins with the next epoch: the
    metric of a validation that was cut off, and the best checkpoint that it would have written, would be missing.
    """

    # After CheckpointHook, which by then has written the best checkpoint, or knows where it is.
    priority = 'LOWEST'

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if is_main_process() and runner.iter:
            AtomicLocalBackend().put_text(str(runner.iter), Path(runner.work_dir, MARKER))

    def before_train(self, runner: Runner) -> None:
        if not validation_is_due(runner):
            return
        finished = [read_marker(runner.work_dir)]
        broadcast_object_list(finished)
        if finished[0] < runner.iter:
            runner.logger.info(f'The validation after iteration {runner.iter} was cut off: it is repeated')
            runner.val_loop.run()


def validation_is_due(runner: Runner) -> bool:
    """Whether a run that was not stopped validates after the iterations that this one has behind it."""
    loop = runner.train_loop
    if runner.val_loop is None or not runner.iter or not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
        return False
    done, last = loop.iter, loop.max_iters
    if isinstance(loop, EpochBasedTrainLoop):
        if loop.iter != loop.epoch * len(loop.dataloader):
            return False
        done, last = loop.epoch, loop.max_epochs
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


def read_marker(work_dir: str | Path) -> int:
    """Iterations before the last finished validation; 0 where there was none."""
    try:
        return int(Path(work_dir, MARKER).read_bytes()[:20])
    except (OSError, ValueError):
        return 0
