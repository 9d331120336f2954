"""The start and the first batches of a run: what fails there fails in seconds, and becomes one message."""
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner, ValLoop
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import IterableDataset

from ..analysis.undisturbed import undisturbed
from ..checkpoints.reading import shown

_CHANNELS = 'What comes there has {0} channels: set in_channels, or change the layer before'
#: What torch and the toolboxes say of common faults of configs, and what to do.
_HINTS = (
    (r'to have \d+ channels, but got (\d+) channels', _CHANNELS),
    (r'mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and', _CHANNELS),
    (r'shape of the mask .* does not match the shape of the indexed tensor',
     'mmseg compares with label maps of the size of the file: LoadAnnotations belongs behind Resize in the pipeline'),
    (r"^'gt_sem_seg'$", 'The pipeline loads no label maps: LoadAnnotations is missing in it'),
    (r"has no attribute 'bboxes'", 'The pipeline loads no boxes: LoadAnnotations with with_bbox=True is missing in it'))

#: What a dataloader's worker hands over: a traceback as text; its last place and code, and the message.
_OF_A_WORKER = re.compile(
    r'(?s).*Original Traceback.*\n  File "([^"]+)", line (\d+)[^\n]*\n((?: [^\n]*\n)*)([^:\n]+):?(.*)')
#: Metrics that can be computed of one image, and find then what is wrong in their settings. COCO's would look at all
#: images of its file.
_OF_ONE_IMAGE = ('IoUMetric', 'Accuracy', 'SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision')


class FirstBatches(Hook):
    """Take one image through the network and the metrics of the validation before a training begins, which would come
    there after an epoch; and know whether an error is one of a first batch.

    Attributes:
        phase: What the run is at, until the first batch of it is through; then None.
    """

    priority = 'LOWEST'  # the network is by then what is trained
    phase: str | None = 'start of the run'

    def before_train(self, runner) -> None:
        self.phase = 'first batch of the validation'
        loop = runner.val_loop
        # Other loops have their own way with a batch.
        if type(loop) is ValLoop and not isinstance(loop.dataloader.dataset, IterableDataset):
            _rehearse(runner.model, loop)
        self.phase = 'first batch of the training'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.phase = None

    def before_test(self, runner) -> None:
        self.phase = 'first batch of the test'

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.phase = None


def first_batch_fault(error: Exception, runner: Runner, model: nn.Module) -> str | None:
    """What failed at the start of a run or on its first batch, and in which layer; None where that was passed.

    The traceback goes to a file beside the run's log.

    Args:
        error: What ended the run.
        runner: The run.
        model: Its network without a parallel wrapper.
    """
    phase = next((hook.phase for hook in runner.hooks if isinstance(hook, FirstBatches)), None)
    if phase is None:
        return None
    if isinstance(error, TypeError) and isinstance(error.__context__, TypeError):  # MMEngine's, with the hook behind it
        error = error.__context__
    layer = _layer(error, model)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    name, text, place = type(error).__name__, str(error) or frame.line, (frame.filename, frame.lineno)
    in_worker = _OF_A_WORKER.match(text)
    if in_worker:
        *place, code, name, text = map(str.strip, in_worker.groups())
        text = text or code.split('\n')[0]
    hints = [f'. {hint.format(*found.groups())}' for pattern, hint in _HINTS if (found := re.search(pattern, text))]
    file = Path(runner.log_dir, 'traceback.txt')
    file.write_text(''.join(traceback.format_exception(error)), encoding='utf-8')
    where = f' in {layer}' if layer else ''
    return (f'the {phase} fails{where}: {name}: {shown(text)} ({place[0]}, line {place[1]}){"".join(hints)}. The whole '
            f'traceback: {file}')


def _rehearse(model: nn.Module, loop: ValLoop) -> None:
    """What the loop does with a batch, for one image, without its hooks; nothing is left of it."""
    metrics = loop.evaluator.metrics
    kept = [list(metric.results) for metric in metrics]
    with undisturbed(model) as network:
        batch = loop.dataloader.collate_fn([loop.dataloader.dataset[0]])
        with autocast(enabled=loop.fp16):
            outputs = network.val_step(batch)
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
        with _silent_log():
            for metric in metrics:
                if type(metric).__name__ in _OF_ONE_IMAGE:
                    metric.compute_metrics(metric.results)
    for metric, results in zip(metrics, kept):
        metric.results = results


@contextmanager
def _silent_log() -> Iterator[None]:
    """Without the tables that metrics log."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _layer(error: Exception, model: nn.Module) -> str | None:
    """Name and type of the innermost layer of the network that an error comes from."""
    names = {id(module): name for name, module in model.named_modules()}
    layers = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [layer for layer in layers if names.get(id(layer))]
    return f'{names[id(inside[-1])]} ({type(inside[-1]).__name__})' if inside else None
