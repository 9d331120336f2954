"""Images and figures of a finished training."""
import os.path as osp
from collections.abc import Callable
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS

from ..analysis.scalars import headline_metric, read_scalars
from ..errors import InputError


@HOOKS.register_module()
class RunReportHook(Hook):
    """After training, leave ``curves.png`` and ``predictions.png`` in the work dir and log the metrics.

    The predictions are those of the averaged weights where an EMAHook validates with them. A drawing that
    fails is reported in the log and leaves the run as good as it was.

    Args:
        num_images: Images on the sheet of predictions.
        score_thr: Boxes below this score are not drawn.

    Attributes:
        data_warnings: What the check of the data found doubtful; kept in ``data_check.txt``, and counted at the end.
    """

    # After CheckpointHook: by then nothing of the training can be lost.
    priority = 'LOWEST'

    def __init__(self, num_images: int = 8, score_thr: float = 0.3) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.data_warnings: list[str] = []

    def before_train(self, runner) -> None:
        if self.data_warnings and is_main_process():
            Path(runner.work_dir, 'data_check.txt').write_text('\n'.join(self.data_warnings) + '\n', encoding='utf-8')

    def after_train(self, runner) -> None:
        if not is_main_process():
            return
        _attempt(runner, 'metrics', _log_metrics)
        if self.data_warnings:
            runner.logger.warning(f'The check of the data found {len(self.data_warnings)} doubtful things: '
                                  f'{osp.join(runner.work_dir, "data_check.txt")}')
        _attempt(runner, 'curves', _draw_curves)
        _attempt(runner, 'sheet of predictions', self._draw_predictions)

    def _draw_predictions(self, runner) -> None:
        if runner.val_loop is None:
            runner.logger.info('No sheet of predictions: the run has no validation set.')
            return
        from ..analysis.sheet import prediction_sheet
        # mmpretrain's EMAHook may be set to validate with the trained weights only.
        averages = [hook for hook in runner.hooks
                    if isinstance(hook, EMAHook) and getattr(hook, 'evaluate_on_ema', True)]
        for hook in averages:
            EMAHook.before_val_epoch(hook, runner)
        try:
            path = prediction_sheet(
                runner.model, runner.val_dataloader.dataset, osp.join(runner.work_dir, 'predictions.png'),
                self.num_images, self.score_thr)
        finally:
            for hook in averages:
                EMAHook.after_val_epoch(hook, runner)  # mmpretrain's own may validate once more
        runner.logger.info(f'Predictions beside ground truth: {path}')


def _attempt(runner, what: str, step: Callable) -> None:
    try:
        step(runner)
    except Exception as error:
        # The training is done and saved: whatever goes wrong here is reported and goes no further.
        runner.logger.warning(
            f'The training is complete, but its {what} failed: {type(error).__name__}: {error}',
            exc_info=not isinstance(error, InputError))


def _draw_curves(runner) -> None:
    from ..analysis.curves import plot_curves
    runner.logger.info(f'Curves of loss and metrics: {plot_curves(runner.work_dir)}')


def _log_metrics(runner) -> None:
    scalars = read_scalars(runner.work_dir)
    name = headline_metric({name: value for record in scalars.val for name, value in record.items()})
    if name is None:
        return
    points = [(record[name], record['step']) for record in scalars.val if name in record]
    final = points[-1]
    best = (min if 'loss' in name else max)(points, key=lambda point: point[0])
    runner.logger.info(f'{name}: {final[0]:.4f} at the end ({scalars.val_unit} {final[1]}), '
                       f'best {best[0]:.4f} ({scalars.val_unit} {best[1]})')
