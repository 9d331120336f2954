"""A training that has diverged is ended, rather than going on for hours."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoints.matching import names_with_nan
from ..errors import InputError, listed

#: What helps against it.
ADVICE = ('Take a smaller optim_wrapper.optimizer.lr, a longer warm-up, or optim_wrapper.clip_grad="dict(max_norm=10)'
          '"; checkpoints of before are in {}')


@HOOKS.register_module()
class DivergenceHook(Hook):
    """End a training whose loss is no finite number, and whose weights or running statistics hold NaN.

    They do not recover. A loss alone does: in mixed precision a step with such gradients is left out. MMEngine and the
    toolboxes train on; mmdet's CheckInvalidLossHook, which its SSDLite has, ends a training for the loss alone.

    Args:
        interval: Iterations from one look to the next, of which a GPU takes notice; the last one of an epoch is
            looked at as well, before its checkpoint is written.

    Raises:
        InputError: The training has diverged.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50):
        self.interval = interval

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        loss = (outputs or {}).get('loss')
        if loss is None or not (self.every_n_inner_iters(batch_idx, self.interval)
                                or self.is_last_train_iter(runner)
                                or self.end_of_epoch(runner.train_dataloader, batch_idx)):
            return
        loss = torch.as_tensor(loss)
        if loss.isfinite().all():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = model.state_dict()
        names = names_with_nan(state)
        if names:
            raise InputError(
                f'the training has diverged: at iteration {runner.iter + 1} the loss is {loss.mean().item()}, and '
                f'{len(names)} of {len(state)} weights and statistics hold NaN, {listed(names, 3)}. '
                + ADVICE.format(runner.work_dir))
