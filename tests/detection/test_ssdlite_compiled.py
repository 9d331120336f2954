"""The whole detector as one graph of torch.compile."""
import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch._dynamo.testing import CompileCounterWithBackend

from mobileode_mm.ode.backends import cpu_operators

CONFIG = Path(__file__).parents[2] / 'configs/ssdlite_mobileode_mini.py'
SIDE = 192


@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('training', [pytest.param(True, marks=pytest.mark.slow), False], ids=['train', 'eval'])
def test_backbone_neck_and_head_are_one_graph(training):
    """Three batches, one compilation; scores, boxes and gradients as without it."""
    torch._dynamo.reset()
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.widen_factor = 0.125
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model).train(training)
    eager, counter = copy.deepcopy(detector), CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(detector, backend=counter, fullgraph=True)
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(2, 3, SIDE, SIDE)
        with torch.set_grad_enabled(training):
            expected, found = eager(x, mode='tensor'), compiled(x, mode='tensor')
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        if training:
            for maps in (expected, found):
                sum(value.square().sum() for kind in maps for value in kind).backward()
    assert counter.frame_count == 1
    for (name, parameter), other in zip(detector.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-3, msg=f'{name} differs')
    torch.testing.assert_close(dict(detector.named_buffers()), dict(eager.named_buffers()), rtol=1e-4, atol=1e-4)
