"""Our kernel as an operator of onnxruntime: the file that has it, and the library that brings it."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from mobileode_mm.deploy import export  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402
from mobileode_mm.ode.backends.build import is_available  # noqa: E402

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_available(), reason='no C++ compiler is installed')]


@pytest.fixture(scope='module')
def made(tmp_path_factory, narrow_v2):
    """A folder with files for any batch; no data."""
    folder, (config, checkpoint, options) = tmp_path_factory.mktemp('ops'), narrow_v2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(folder / 'nothing'))
        exported = export(config, checkpoint, folder / 'v2.onnx', dynamic='batch', cfg_options=options,
                          custom_ops=True)
    assert any('v2.ops.onnx' in line for line in exported.lines)
    return folder


def test_each_solver_is_one_node_with_what_follows_it(made):
    graph = onnx.load(made / 'v2.ops.onnx').graph
    ours = [node for node in graph.node if node.domain == 'mobileode']
    assert len(ours) == 16 and {node.op_type for node in ours} == {'ChannelwiseODESolver'}
    # The second of each block has the sum.
    assert [len([name for name in node.input if name]) for node in ours] == [7, 8] * 8
    assert not {'Clip', 'MatMul', 'BatchNormalization'} & {node.op_type for node in graph.node}


def test_the_stand_alone_program_runs_it_with_the_library_alone(made):
    image = made / 'image.png'
    Image.effect_noise((80, 70), 60).convert('RGB').save(image)

    def run(name, *arguments):
        return subprocess.run([sys.executable, str(ROOT / 'tools/deployment/run_onnx.py'), str(made / name), str(image),
                               *arguments], capture_output=True, text=True)

    stock, ours = run('v2.onnx'), run('v2.ops.onnx', '--custom-ops', str(made / 'v2.ops.so'))
    expected, found = json.loads(stock.stdout), json.loads(ours.stdout)
    assert found['label'] == expected['label'] and found['score'] == pytest.approx(expected['score'], abs=1e-5)
    refused = run('v2.ops.onnx')
    assert refused.returncode and 'ChannelwiseODESolver' in refused.stderr


def test_the_operator_refuses_shapes_that_do_not_fit(made, solver_model):
    model = solver_model(x=[1, 5, 6, 16], transitions=[2, 4, 4], step_lengths=['L'], scale=['h', 'w'], shift=['h', 'w'])
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(made / 'v2.ops.so'))
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def call(steps, height):
        sizes = dict(x=(1, 5, 6, 16), transitions=(2, 4, 4), step_lengths=(steps, ), scale=(height, 6),
                     shift=(height, 6))
        return session.run(None, {name: torch.rand(size).numpy() for name, size in sizes.items()})

    assert call(2, 5)[0].shape == (1, 5, 6, 16)
    for arguments, name in (((3, 5), 'step_lengths'), ((2, 4), 'scale')):
        with pytest.raises(Exception, match=f'mobileode::ChannelwiseODESolver: {name} must be'):
            call(*arguments)


def test_other_formats_have_no_such_operator(tmp_path):
    with pytest.raises(InputError, match='--custom-ops is for --format onnx'):
        export(ROOT / 'configs/classify_mobileode_mini.py', tmp_path / 'none.pth', tmp_path / 'v1.pt', 'torchscript',
               custom_ops=True)
