"""Training one network for several numbers of steps."""

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from ..backbones import anytime_backbones
from ..errors import InputError


@HOOKS.register_module()
class AnytimeHook(Hook):
    """Give each iteration its number of steps: the largest, the smallest, then one between them, in turn.

    The sandwich rule of slimmable networks (arXiv:1903.05134) spread over iterations: each costs what an iteration of
    a plain network costs, and needs its memory. Seed and iteration alone decide, in every process alike, so that a
    resumed run has the numbers of an undisturbed one. Between iterations the network takes what its config says
    (``take``).

    Where the config says ``distill``, an iteration of fewer steps also computes the maps of the largest number, without
    gradients, and ``loss_distill`` is how far the backbone's maps are from these: the mean squared difference over the
    mean square, on average over the maps.
    """

    # After ReseedHook, so that its numbers do not depend on this hook's.
    priority = 'HIGH'

    def before_train(self, runner) -> None:
        """Find the backbone.

        Raises:
            InputError: There is none with ``anytime``.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.backbones = anytime_backbones(model)
        if not self.backbones:
            raise InputError(f'AnytimeHook: no part of this {type(model).__name__} has anytime=dict(steps=...)')
        self._distances: list[Tensor] = []
        self._handles = [backbone.register_forward_hook(self._follow) for backbone in self.backbones
                         if backbone.anytime.distill]
        if self._handles:
            self._handles.append(model.register_forward_hook(self._add_loss))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        for backbone in self.backbones:
            backbone.set_steps(steps_of(backbone.anytime.steps, runner.seed, runner.iter))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for backbone in self.backbones:
            backbone.set_steps(backbone.anytime.take)

    def after_train(self, runner) -> None:
        for handle in self._handles:
            handle.remove()

    def _follow(self, backbone: nn.Module, args: tuple, maps: tuple[Tensor, ...]) -> None:
        """Keep how far the backbone's maps are from those of the largest number of steps."""
        largest, steps = backbone.anytime.steps[-1], backbone.num_steps
        if not backbone.training or min(steps) == largest or not torch.is_grad_enabled():
            return
        backbone.set_steps(largest)
        with torch.no_grad():
            wanted = backbone.forward(*args)
        backbone.set_steps(steps)
        distances = [(one.float() - other.float()).square().mean() / other.float().square().mean().clamp(min=1e-6)
                     for one, other in zip(maps, wanted)]
        self._distances.append(torch.stack(distances).mean())

    def _add_loss(self, model: nn.Module, args: tuple, output: object) -> object:
        """Add them to the losses."""
        if self._distances and isinstance(output, dict):
            output = dict(output, loss_distill=torch.stack(self._distances).mean())
        self._distances.clear()
        return output


def steps_of(steps: tuple[int, ...], seed: int, iteration: int) -> int:
    """The number of steps of an iteration.

    Args:
        steps: Those that the network is trained for, rising.
        seed: Of the run.
        iteration: Of the run, from 0.
    """
    between = steps[1:-1]
    turn = (steps[-1], steps[0], between)[iteration % (3 if between else 2)]
    if turn is between:
        return between[np.random.default_rng((seed, iteration)).integers(len(between))]
    return turn
