"""Compiled networks against eager ones, and what a config's ``compile`` may be."""
import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from mobileode_mm import MobileODEV1, MobileODEV2
from mobileode_mm.engine.compiling import compile_network, compile_options
from mobileode_mm.errors import InputError
from mobileode_mm.ode.backends import cpu_operators

SIDE = 64


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def network(cls, **options) -> nn.Module:
    """The narrowest network whose solvers change sides, with a spread in what is initialised to ones and zeros."""
    torch.manual_seed(0)
    backbone = cls(widen_factor=0.125, input_size=SIDE, **options)
    for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        if name.endswith(('weight', 'running_var', 'bias', 'running_mean')) and tensor.dim() < 4:
            tensor.data += 0.2 * torch.rand_like(tensor)
    return backbone


def numbers(module: nn.Module, call, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs and, in training, every gradient and what the running statistics become."""
    module.zero_grad()
    with torch.set_grad_enabled(module.training):
        outputs = call(x)
        found = {f'output {index}': value.detach() for index, value in enumerate(outputs)}
        if module.training:
            weights = [torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value) for value in outputs]
            sum((value * weight).sum() for value, weight in zip(outputs, weights)).backward()
            found |= {f'gradient {name}': value.grad for name, value in module.named_parameters()}
    return found | {name: value.clone() for name, value in module.named_buffers()}


def assert_compiles(module: nn.Module, backend: str) -> None:
    """One graph for three batches, whose numbers are the eager ones: in float64, where no rounding passes a kink."""
    module = module.double()
    eager, counter = copy.deepcopy(module), CompileCounterWithBackend(backend)
    compiled = torch.compile(module, backend=counter, fullgraph=True)
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
        expected, found = numbers(eager, eager, x), numbers(module, compiled, x)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-8, msg=f'{name} differs')
    assert counter.frame_count == 1
    if module.training:
        tracked = {name: int(value) for name, value in module.named_buffers()
                   if name.endswith('solver.norm.num_batches_tracked')}
        runs = tuple(f'stage{number}.' for number in range(max(module.out_indices) + 1))
        # Three steps of three batches; the stages behind the last that is returned stand idle.
        assert tracked and tracked == {name: 9 if name.startswith(runs) else 0 for name in tracked}


@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('cls, training', [
    (MobileODEV1, True), (MobileODEV1, False), (MobileODEV2, False),
    pytest.param(MobileODEV2, True, marks=pytest.mark.slow)])
def test_whole_backbone_is_one_graph(cls, training):
    assert_compiles(network(cls, out_indices=(2, 5)).train(training), 'aot_eager')


@pytest.mark.slow
@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_machine_code_of_the_backbone(training):
    assert_compiles(network(MobileODEV1, out_indices=(2, 3)).train(training), 'inductor')


@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
def test_graph_calls_the_solver_kernels():
    """Not its operators, from which a compiler would make slower code."""
    targets = []

    def backend(graph, _):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    backbone = network(MobileODEV1, out_indices=(2, )).train()
    torch.compile(backbone, backend=backend, fullgraph=True)(torch.randn(2, 3, SIDE, SIDE))
    assert any('mobileode.cos_train' in target for target in targets)


def test_sizes_that_change():
    """One graph for all sizes, where torch is asked for it, and where the solvers' grids are resampled."""
    backbone = network(MobileODEV1, out_indices=(2, )).eval()
    compiled = torch.compile(backbone, backend='aot_eager', fullgraph=True, dynamic=True)
    with torch.no_grad():
        compiled(torch.randn(2, 3, 96, 80))
        with torch.compiler.set_stance('fail_on_recompile'):
            for size in ((3, 3, 48, 112), (5, 3, 136, 104)):
                x = torch.randn(size)
                torch.testing.assert_close(compiled(x)[0], backbone(x)[0], rtol=1e-4, atol=1e-5)


class Toy(nn.Module):
    """What a toolbox's model looks like, with a head that is called past ``__call__``, as mmseg's are."""

    def __init__(self):
        super().__init__()
        self.data_preprocessor = nn.Identity()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)
        self.auxiliary_head = nn.ModuleList([nn.Conv2d(4, 2, 3, padding=1)])

    def forward(self, x):
        x = self.backbone(self.data_preprocessor(x))
        return self.head.forward(x) + self.auxiliary_head[0].forward(x)


def test_parts_are_compiled_in_place():
    torch.manual_seed(0)
    model, counter = Toy(), CompileCounterWithBackend('eager')
    names, x = list(model.state_dict()), torch.randn(2, 3, 8, 8)
    eager = copy.deepcopy(model)
    assert compile_network(model, dict(backend='eager')).endswith(': backbone, head, auxiliary_head.0')
    model = copy.deepcopy(eager)
    compile_network(model, dict(backend=counter))
    counter.frame_count = 0  # what was compiled to see whether torch can
    torch.testing.assert_close(model(x), eager(x))
    assert counter.frame_count == 3
    assert list(model.state_dict()) == names

    # An EMA hook copies the model: the copy has weights of its own.
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(model.eval()(x), eager.eval()(x))
    assert not other.eval()(x).any()


def test_without_a_compiler_the_network_stays_eager(tmp_path):
    """In a process of its own, whose environment knows none."""
    program = '''
import torch
from torch import nn
from mobileode_mm.engine.compiling import compile_network
model = nn.Sequential(nn.Linear(2, 2))
print(compile_network(model, {}))
print(model(torch.ones(1, 2)).shape)
'''
    environment = {**os.environ, 'CXX': str(tmp_path / 'no compiler'), 'PATH': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', program], env=environment, capture_output=True, text=True)
    line, shape = done.stdout.splitlines()
    assert line.startswith('Nothing is compiled') and 'No working C++ compiler' in line
    assert shape == 'torch.Size([1, 2])'


@pytest.mark.parametrize('value, options', [
    (None, None), (False, None), (True, {}), ({}, {}), (dict(disable=True), None),
    (dict(backend='aot_eager', dynamic=None), dict(backend='aot_eager', dynamic=None)),
])
def test_options(value, options):
    assert compile_options(value) == options


@pytest.mark.parametrize('value, reported', [
    ('yes', "compile is 'yes'"), (1, 'compile is 1'),
    (dict(backends='inductor'), 'compile.backends: .* it has fullgraph, dynamic, backend'),
    (dict(backend='gcc'), "Invalid backend: 'gcc'"),
    (dict(mode='fast'), 'mode=fast'),
    (dict(fullgraph='yes'), "compile.fullgraph is 'yes'; legal: True, False"),
    (dict(dynamic=1), 'compile.dynamic is 1; legal: True, False, None'),
])
def test_bad_options(value, reported):
    with pytest.raises(InputError, match=reported):
        compile_options(value)
