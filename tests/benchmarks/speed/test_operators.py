"""The table of operators counts what onnxruntime runs, and divides by the last file."""
import numpy as np
import pytest

onnx = pytest.importorskip('onnx', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from benchmarks.speed.operators import markdown, time_operators  # noqa: E402
from mobileode_mm.cli import main  # noqa: E402


def write(path, convolutions):
    """Convolutions one behind the other, each with an activation that onnxruntime fuses into it, then a Softmax."""
    nodes = [helper.make_node('Cast', ['image'], ['x0'], to=TensorProto.FLOAT)]
    for number in range(convolutions):
        nodes += [helper.make_node('Conv', [f'x{number}', 'w'], [f'c{number}']),
                  helper.make_node('Relu', [f'c{number}'], [f'x{number + 1}'])]
    nodes.append(helper.make_node('Softmax', [f'x{convolutions}'], ['y']))
    graph = helper.make_graph(
        nodes, 'g', [helper.make_tensor_value_info('image', TensorProto.UINT8, [1, 16, 8, 8])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 16, 8, 8])],
        [numpy_helper.from_array(np.full((16, 16, 1, 1), 0.1, np.float32), 'w')])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9), path)
    return path


def test_operators_are_counted_as_onnxruntime_runs_them(tmp_path):
    found = time_operators({'two': write(tmp_path / 'two.onnx', 2), 'one': write(tmp_path / 'one.onnx', 1)}, calls=3)
    assert {name: sum(count for kind, (count, _) in kinds.items() if 'Conv' in kind)
            for name, kinds in found.items()} == {'two': 2, 'one': 1}
    assert all('Relu' not in kinds and kinds['Softmax'][0] == 1 for kinds in found.values())
    assert all(milliseconds >= 0 for kinds in found.values() for _, milliseconds in kinds.values())


def test_sums_and_ratios():
    found = {'a': {'Conv': (3, 6.), 'Clip': (1, 0.5)}, 'b': {'Conv': (2, 5.)}}
    text = markdown(dict(found=found, note='Measured here.'))
    assert '| `Conv` | 3: 6.00 | 2: 5.00 |\n| `Clip` | 1: 0.50 | – |' in text
    assert '| all | 4: 6.50 | 2: 5.00 |\n| over the last | 1.30 | 1.00 |\n\nMeasured here.' in text


def test_files_are_taken_as_they_are(tmp_path, capsys):
    files = [str(write(tmp_path / f'{name}.onnx', count)) for name, count in (('two', 2), ('one', 1))]
    assert main(['bench-operators', *files, '--calls', '1']) == 0
    assert '| operator | two | one |' in capsys.readouterr().out
    assert main(['bench-operators', str(tmp_path / 'none.onnx')]) == 2
    assert 'none.onnx' in capsys.readouterr().err
