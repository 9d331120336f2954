"""Our kernel as an operator of OpenVINO: the files that have it, and the library that brings it."""
import importlib.machinery
import json
import os
import sys
import types

import numpy as np
import pytest

pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')
openvino = pytest.importorskip('openvino', reason='the extra "openvino" is not installed')

from mobileode_mm.cli import main  # noqa: E402
from mobileode_mm.deploy import export, tasks  # noqa: E402
from mobileode_mm.deploy.formats import FORMATS, load, needed, run_of  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402
from mobileode_mm.inference.inferencer import Inferencer  # noqa: E402
from mobileode_mm.ode.backends.build import is_available  # noqa: E402

needs_compiler = pytest.mark.skipif(not is_available(), reason='no C++ compiler is installed')


@pytest.fixture(scope='module')
def made(tmp_path_factory, narrow_v2):
    """A folder with files for any batch; no data."""
    folder, (config, checkpoint, options) = tmp_path_factory.mktemp('ops'), narrow_v2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(folder / 'nothing'))
        exported = export(config, checkpoint, folder / 'v2.xml', 'openvino', dynamic='batch', cfg_options=options,
                          custom_ops=True)
    assert any('v2.ops.xml' in line for line in exported.lines)
    assert sorted(os.listdir(folder)) == ['v2.bin', 'v2.ops.bin', 'v2.ops.so', 'v2.ops.xml', 'v2.xml']
    return folder


def core_with(library):
    core = openvino.Core()
    core.add_extension(library)
    return core


@pytest.mark.slow
@needs_compiler
def test_each_solver_is_one_operator_and_nothing_is_transposed_twice(made):
    nodes = core_with(made / 'v2.ops.so').read_model(made / 'v2.ops.xml').get_ops()
    assert len([node for node in nodes if node.get_type_name() == 'ChannelwiseODESolver']) == 16
    transposes = [node for node in nodes if node.get_type_name() == 'Transpose']
    assert transposes and 'Clamp' not in {node.get_type_name() for node in nodes}
    assert 'Transpose' not in {node.input_value(0).get_node().get_type_name() for node in transposes}


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize('threads', [1, 2])
def test_it_computes_what_the_stock_file_and_the_network_compute(made, narrow_v2, threads):
    config, checkpoint, options = narrow_v2
    inferencer = Inferencer(config, checkpoint, 'cpu', cfg_options=options, deploy=False)
    network = run_of(tasks.Classifier(inferencer.model, inferencer.takes_rgb).eval())
    height, width = json.loads(FORMATS['openvino'].metadata(made / 'v2.xml')['size'])
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    found, = load(made / 'v2.ops.xml', 'openvino', threads, made / 'v2.ops.so')(images)
    for other in (load(made / 'v2.xml', 'openvino', threads), network):
        np.testing.assert_allclose(found, other(images)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs_compiler
def test_the_command_runs_it_with_the_library_alone(made, smooth_noise, capsys):
    smooth_noise.save(made / 'image.png')

    def run(name, *arguments):
        status = main(['run', str(made / name), str(made / 'image.png'), *map(str, arguments)])
        return status, *capsys.readouterr()

    expected, found = (json.loads(out) for _, out, _ in (
        run('v2.xml'), run('v2.ops.xml', '--custom-ops', made / 'v2.ops.so')))
    assert found['label'] == expected['label'] and found['score'] == pytest.approx(expected['score'], abs=1e-5)
    for arguments, word in (((), 'as --custom-ops'), (('--custom-ops', made / 'v2.so'), 'v2.so')):
        status, out, said = run('v2.ops.xml', *arguments)
        assert status == 2 and not out and said.startswith('error: ') and word in said and len(said.splitlines()) == 1


@pytest.mark.slow
@needs_compiler
def test_the_operator_refuses_shapes_that_do_not_fit(made, solver_model):
    core = core_with(made / 'v2.ops.so')
    fixed = dict(x=[1, 5, 6, 16], transitions=[2, 4, 4])
    model = core.read_model(solver_model(**fixed, step_lengths=['L'], scale=['h', 'w'], shift=['h', 'w']))
    compiled = core.compile_model(model, 'CPU')

    def call(steps, height):
        sizes = [(1, 5, 6, 16), (2, 4, 4), (steps, ), (height, 6), (height, 6)]
        return compiled([np.ones(size, np.float32) for size in sizes])[0]

    assert call(2, 5).shape == (1, 5, 6, 16)
    for arguments, name in (((3, 5), 'step_lengths'), ((2, 4), 'scale')):
        with pytest.raises(RuntimeError, match=f'{name} must be'):
            call(*arguments)
    with pytest.raises(RuntimeError, match='scale must be'):
        core.read_model(solver_model(**fixed, step_lengths=[2], scale=[4, 6], shift=[4, 6]))


def test_what_its_library_needs_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(InputError, match='--custom-ops compiles the kernels: no C.. compiler'):
        needed('openvino', False, True)
    other = types.ModuleType('openvino')
    other.__spec__ = importlib.machinery.ModuleSpec('openvino', None, origin=str(tmp_path / '__init__.py'))
    monkeypatch.setitem(sys.modules, 'openvino', other)
    with pytest.raises(InputError, match='has not the headers and libraries'):
        FORMATS['openvino'].compiler_flags()
