"""Whether a variant computes what it should, before anyone asks how fast it is."""

from statistics import median

import torch
from torch import Tensor

from .workloads import HALVES

# Largest difference, relative to the reference's norm. Training is looser: rounding puts a few values on the other side
# of a ReLU6's kink; of the twenty million of one layer (144→576 at 80×80, 2 images) some move a gradient by 6e-4,
# and the solver as released, at L = 12, by 4e-4. In a network they add up, and torch's batch norm sums float32 roughly
# in channels_last memory: at 320 px a gradient of MobileNetV1 was seen to differ by a tenth in float32 and by 1e-13 in
# float64. A wrong formula differs by far more.
TOLERANCES = {
    torch.float32: {'layer infer': 1e-5, 'layer train': 1e-3, 'network infer': 1e-4, 'network train': 2.5e-1},
    torch.float16: {'layer infer': 1e-2, 'layer train': 5e-2, 'network infer': 1e-1, 'network train': 1e-1},
    torch.bfloat16: {'layer infer': 5e-2, 'layer train': 2e-1, 'network infer': 5e-1, 'network train': 5e-1},
}


def compared(numbers: dict[str, Tensor], kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What of a workload's numbers is compared: all, but of a network in half precision the outputs and losses alone.

    Some gradients of an untrained network are all rounding there (bfloat16: differences above the gradient itself).
    """
    if kind == 'layer' or dtype not in HALVES:
        return numbers
    return {name: value for name, value in numbers.items() if name.startswith(('output', 'loss'))}


def worst_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[float, str]:
    """The tensor that differs most from its reference: ‖found − expected‖ / ‖expected‖, and its name.

    Shapes may differ, element counts may not: a grid may be flat. Names are ``kind rest``. A gradient that vanishes
    (of a bias before a batch norm) is all rounding, so that nothing is divided by less than a tenth of what is usual
    for its kind. A tensor that is absent, surplus or not finite differs infinitely.
    """
    if found.keys() != expected.keys():
        return float('inf'), sorted(found.keys() ^ expected.keys())[0]
    norms = {name: _rms(value) for name, value in expected.items()}
    usual = {}
    for name, norm in norms.items():
        usual.setdefault(name.split()[0], []).append(norm)
    worst, where = 0.0, next(iter(expected))
    for name, value in expected.items():
        if found[name].numel() != value.numel():
            return float('inf'), name
        scale = max(norms[name], 0.1 * median(usual[name.split()[0]]))
        distance = _rms(found[name].detach().flatten().cpu().double() - value.detach().flatten().cpu().double())
        difference = 0.0 if distance == 0 else distance / scale if scale else float('inf')
        if not difference <= worst:
            worst, where = difference if difference == difference else float('inf'), name
    return worst, where


def _rms(value: Tensor) -> float:
    return value.detach().double().square().mean().sqrt().item()
