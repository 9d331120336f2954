"""Training that knows of the eight bits in which the network will be computed."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_LEVELS = 255
#: Share of a new batch in the range of a map.
_MOMENTUM = 0.05


@HOOKS.register_module()
class QuantisationAwareHook(Hook):
    """Round weights and maps in training as files in int8 do, so that the network learns to bear it.

    Rounded are the weights of convolutions and linear layers but the first (127 steps each way, one scale a channel),
    what these read, and what batch norms give (255 steps over the range that is seen). Gradients pass as if nothing
    were rounded, and the optimizer moves the weights themselves: checkpoints are those of any training. Validation
    sees the network without rounding. To be used for a short while at a low learning rate, from trained weights.
    """

    def __init__(self):
        self._layers: list[nn.Conv2d | nn.Linear] = []
        self._ranges: dict[nn.Module, Tensor] = {}
        self._exact: list[Tensor] = []

    def before_train(self, runner) -> None:
        """Find the layers."""
        modules = list(runner.model.modules())
        self._layers = [one for one in modules if isinstance(one, (nn.Conv2d, nn.Linear))][1:]
        for layer in self._layers:
            layer.register_forward_pre_hook(lambda layer, args: (self._rounded(layer, args[0]), *args[1:]))
        for norm in modules:
            if isinstance(norm, _BatchNorm):
                norm.register_forward_hook(lambda norm, args, output: self._rounded(norm, output))
        runner.optim_wrapper.optimizer.register_step_pre_hook(lambda *_: self._restore())

    @torch.no_grad()
    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Round the weights, until the optimizer steps."""
        self._exact = [layer.weight.detach().clone() for layer in self._layers]
        for layer in self._layers:
            weight = layer.weight
            scale = weight.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (weight.dim() - 1)) / 127
            weight.copy_((weight / scale).round() * scale)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Give the weights back where the optimizer did not step, as between accumulated batches."""
        self._restore()

    @torch.no_grad()
    def _restore(self) -> None:
        for layer, weight in zip(self._layers, self._exact):
            layer.weight.copy_(weight)
        self._exact = []

    def _rounded(self, module: nn.Module, x: Tensor) -> Tensor:
        """x in 255 steps over the range that the module has seen; its gradient is zero beyond that."""
        if not module.training or not x.is_floating_point():
            return x
        seen = torch.stack([x.detach().amin(), x.detach().amax()]).float()
        earlier = self._ranges.get(module, seen)
        self._ranges[module] = seen = torch.lerp(earlier, seen, _MOMENTUM)
        low, high = seen[0].clamp(max=0), seen[1].clamp(min=0)
        scale = ((high - low) / _LEVELS).clamp(min=1e-12)
        zero = (-low / scale).round().clamp(0, _LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _LEVELS)
