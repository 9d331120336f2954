"""Small networks in ONNX, and the program that runs files."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from PIL import Image

from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def program():
    """``tools/deployment/run_onnx.py`` as a module."""
    pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
    spec = importlib.util.spec_from_file_location('run_onnx', ROOT / 'tools/deployment/run_onnx.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def found_boxes():
    """What the program prints of a file and one image: its boxes."""

    def run(*arguments):
        done = subprocess.run([sys.executable, ROOT / 'tools/deployment/run_onnx.py', *map(str, arguments)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)['boxes']

    return run


@pytest.fixture(scope='session')
def write_model():
    """Write a classifier by the mean of each channel, or a segmentor by the red one; ``divide`` has it give NaN."""
    onnx = pytest.importorskip('onnx', reason='the extra "deploy" is not installed')

    def write(path, meta, output='scores', divide=False):
        nodes = [onnx.helper.make_node('Cast', ['image'], ['x'], to=onnx.TensorProto.FLOAT)]
        shape = ['batch', 3]
        if output == 'mask':
            hundred = onnx.numpy_helper.from_array(np.uint8(100))
            nodes = [onnx.helper.make_node('Split', ['image'], ['r', 'g', 'b'], axis=3, num_outputs=3),
                     onnx.helper.make_node('Constant', [], ['axis'], value_ints=[3]),
                     onnx.helper.make_node('Squeeze', ['r', 'axis'], ['q']),
                     onnx.helper.make_node('Constant', [], ['hundred'], value=hundred),
                     onnx.helper.make_node('Div', ['q', 'hundred'], ['mask'])]
            shape, kind = ['batch', 'height', 'width'], onnx.TensorProto.UINT8
        else:
            nodes += [onnx.helper.make_node('Constant', [], ['axes'], value_ints=[1, 2]),
                      onnx.helper.make_node('ReduceMean', ['x', 'axes'], ['y'], keepdims=0),
                      onnx.helper.make_node('Sub', ['y', 'y'], ['z']),
                      onnx.helper.make_node('Div', ['z', 'z'], [output]) if divide
                      else onnx.helper.make_node('Softmax', ['y'], [output])]
            kind = onnx.TensorProto.FLOAT
        images = onnx.helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, ['batch', 'height', 'width', 3])
        graph = onnx.helper.make_graph(nodes, 'g', [images], [onnx.helper.make_tensor_value_info(output, kind, shape)])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=9)
        onnx.helper.set_model_props(model, meta)
        onnx.save(model, path)

    return write


@pytest.fixture(scope='session')
def save_untrained():
    """Write the checkpoint of an untrained network with the norms of a trained one."""

    def save(config, options, path, classes):
        cfg = load_config(config, options)
        with config_scope(cfg):
            torch.manual_seed(0)
            model = revert_sync_batchnorm(build_model(cfg))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        calibrate_norms(model, lambda: model(torch.randn(4, 3, 192, 192), mode='tensor'))
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), path)

    return save


@pytest.fixture(scope='session')
def narrow_v2(tmp_path_factory, save_untrained):
    """Config, checkpoint and options of an untrained, narrow classifier whose solvers resize and do not."""
    checkpoint = tmp_path_factory.mktemp('v2') / 'v2.pth'
    config, options = ROOT / 'configs/classify_mobileode_v2_mini.py', {
        'model.backbone.widen_factor': 0.25, 'model.backbone.num_steps': (1, 2, 1, 1)}
    save_untrained(config, options, checkpoint, tuple('0123456789'))
    return config, checkpoint, options


@pytest.fixture(scope='session')
def solver_model():
    """In ONNX one node with our kernel, by the shapes of its inputs; sides that have a name are free."""
    onnx = pytest.importorskip('onnx', reason='the extra "deploy" is not installed')

    def make(**shapes):
        node = onnx.helper.make_node('ChannelwiseODESolver', [*shapes], ['y'], domain='mobileode')
        kind = onnx.TensorProto.FLOAT
        values = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
        graph = onnx.helper.make_graph([node], 'one', values, [onnx.helper.make_tensor_value_info('y', kind, None)])
        model = onnx.helper.make_model(graph, ir_version=9, opset_imports=[
            onnx.helper.make_opsetid('', 18), onnx.helper.make_opsetid('mobileode', 1)])
        return model.SerializeToString()

    return make


@pytest.fixture(scope='session')
def smooth_noise():
    """An image of 150 by 100 pixels."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((150, 100), Image.BICUBIC)


@pytest.fixture(scope='session')
def small_detector(tmp_path_factory, save_untrained, smooth_noise):
    """Config, options, checkpoint and an image of an untrained, narrow detector that finds boxes by chance."""
    folder = tmp_path_factory.mktemp('detector')
    config, options = ROOT / 'configs/ssdlite_mobileode_mini.py', {
        'model.backbone.widen_factor': 0.25, 'model.backbone.num_steps': 1}
    save_untrained(config, options, folder / 'detector.pth', tuple('abcdefghij'))
    smooth_noise.save(folder / 'image.png')
    return config, options, folder / 'detector.pth', folder / 'image.png'
