"""How many operators of an ONNX file each step of a solver takes: the runtimes' time is in their number."""
from collections import Counter

import pytest
import torch

pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')

from mobileode_mm.backbones.mobileode import SolverModule  # noqa: E402
from mobileode_mm.deploy.formats import OPSET, quiet  # noqa: E402
from mobileode_mm.ode import ExportedODESolver  # noqa: E402


def operators(norm, steps, limit=0, side=4, side_in=4, **options):
    """Of a block's second half: solver, norm, ReLU6 and sum, on maps of 6×5. The file gives what the block does."""
    torch.manual_seed(0)
    solver = dict(norm=norm, num_steps=steps, grid_size=(6, 5), **options)
    block = SolverModule(side_in**2, side**2, solver, dict(type='BN')).eval()
    x, residual = torch.randn(1, side_in**2, 6, 5), torch.randn(1, side**2, 6, 5)
    with torch.no_grad(), quiet():
        expected = block(x, residual)
        block.fold_into_solver({block.solver: (6, 5)})
        block.solver = ExportedODESolver(block.solver, limit)
        made = torch.onnx.export(torch.export.export(block, (x, residual)), opset_version=OPSET, dynamo=True)
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    names = [one.name for one in session.get_inputs()]
    found, = session.run(None, dict(zip(names, (x.numpy(), residual.numpy()))))
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
    return Counter(node.op_type for node in made.model_proto.graph.node)


@pytest.mark.parametrize('norm, limit, of_a_step, of_the_rest', [
    ('channel', 0, dict(Conv=1, Clip=1, Add=1), dict(Conv=1, Clip=1, Add=2, Mul=1)),
    ('position', 0, dict(Conv=1, Mul=1, Add=2, Clip=1), dict(Conv=1, Clip=1, Add=2, Mul=1)),
    ('position', 10**6, dict(MatMul=1, BatchNormalization=1, Clip=1, Add=1),
     dict(Conv=1, Clip=1, Add=2, Mul=1, Transpose=2, Reshape=2)),
])
def test_operators_of_a_step_do_not_grow(norm, limit, of_a_step, of_the_rest):
    two, three = operators(norm, 2, limit), operators(norm, 3, limit)
    assert dict(three - two) == of_a_step
    assert dict(two - Counter({name: 2 * count for name, count in of_a_step.items()})) == of_the_rest


@pytest.mark.parametrize('norm, limit', [('channel', 0), ('position', 0), ('position', 10**6)])
def test_a_gain_is_one_product(norm, limit):
    plain, ours = (operators(norm, 2, limit, 4, 2, expand_gain=gain) for gain in (None, 0.5))
    assert ours - plain == dict(Mul=1) and not plain - ours


def test_one_step_of_the_channel_norm_is_a_convolution_a_sum_and_what_follows():
    """Length 1, which is what one step has at least: nothing of the state stays."""
    assert dict(operators('channel', 1)) == dict(Conv=2, Clip=2, Add=2)
