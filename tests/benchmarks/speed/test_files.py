"""Networks in their runtimes: what is refused, and one run on real files."""
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')

from benchmarks.speed.files_report import main_metric  # noqa: E402
from benchmarks.speed.untrained import untrained_checkpoint  # noqa: E402
from mobileode_mm import cli  # noqa: E402
from mobileode_mm.data.mini import make_mini_data  # noqa: E402


def main(arguments):
    return cli.main(['bench', *map(str, arguments)])


ROOT = Path(__file__).parents[3]
CONFIG = """_base_ = '{base}'
model = dict(backbone=dict(widen_factor={width}{rest}))
"""
MARKS = ('<!-- here: begin -->', '<!-- here: end -->')
SIZE = ['--size', 64, 64]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Configs and checkpoints of two narrow classifiers, in a folder each; few data."""
    folder = tmp_path_factory.mktemp('timing')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(folder / 'data'))
        make_mini_data(folder / 'data/mini', detection=(1, 1), segmentation=(1, 1), classification=(10, 10))
        for name, base, rest in (('ours', 'classify_mobileode_mini', ', num_steps=1'),
                                 ('twin', 'peers/classify_mobilenetv2_mini', '')):
            (folder / name).mkdir()
            config = folder / name / f'{name}.py'
            config.write_text(CONFIG.format(base=ROOT / 'configs' / f'{base}.py', width=0.25, rest=rest))
            path, _ = untrained_checkpoint(config, folder / name, (64, 64))
            state = torch.load(path)['state_dict']
            torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=tuple('0123456789')))),
                       folder / name / 'epoch_1.pth')
            path.unlink()
        yield folder


def checkpoints(place, *names):
    return [place / name / 'epoch_1.pth' for name in names]


@pytest.mark.slow
def test_measures_every_form_in_one_run(place, tmp_path, capsys):
    out = tmp_path / 'out'
    kinds = ['eager', 'deploy', 'compiled', 'onnx', 'onnx-kernel', 'onnx-int8-size', 'onnx-fp16', 'torchscript']
    if find_spec('openvino'):
        kinds.append('openvino-kernel')
    assert main([*checkpoints(place, 'ours', 'twin'), *SIZE, '--formats', *kinds, '--rounds', 2, '--threads', 1,
                 '--limit', 5, '--out', out]) == 0
    printed = capsys.readouterr().out
    result = json.loads((out / 'speed.json').read_text())
    variants = {(variant['network'], variant['kind']): variant for variant in result['variants']}
    assert list(variants) == [(name, kind) for name in ('ours', 'twin') for kind in kinds]
    exact = variants['ours', 'eager']['metrics']
    for (name, kind), variant in variants.items():
        timed = variant['timed']['1']
        assert timed['median_ms'] > 0 and len(timed['samples_ms']) == 2
        assert (variant['bytes'] is None) == (kind in ('eager', 'deploy', 'compiled'))
        assert set(timed['ratios']) == {f'twin/{one}' for one in kinds}
        if name == 'ours' and kind not in ('onnx-int8-size', 'onnx-fp16'):
            assert variant['metrics'] == exact
    assert variants['twin', 'eager']['timed']['1']['ratios']['twin/eager']['median'] == 1
    # Of ours, 75 kB, the weights are the smaller part.
    assert variants['twin', 'onnx-int8-size']['bytes'] < 0.6 * variants['twin', 'onnx']['bytes']
    assert 'Time over that of twin as the same' in printed and '| as | ours |' in printed
    assert result['images'] == 5 and 'top-1, %' in printed and 'int8 takes' in printed
    assert (out / 'speed.md').read_text() in printed
    assert (out / 'bench.svg').read_text().count('id="pareto"') == len(kinds)
    assert main([*checkpoints(place, 'ours'), '--out', out]) == 2
    assert 'would be written over' in capsys.readouterr().err


@pytest.mark.slow
def test_untrained_networks_are_timed_and_written_into_a_page(place, tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('\n'.join(['above', MARKS[0], 'an old table', MARKS[1], 'below']))
    assert main(['--untrained', place / 'ours/ours.py', place / 'twin/twin.py', '--formats', 'onnx', '--threads', 1, 2,
                 '--rounds', 2, *SIZE, '--page', f'{page}#here']) == 0
    text = page.read_text()
    assert text.startswith(f'above\n{MARKS[0]}\n- ') and text.endswith(f'|\n{MARKS[1]}\nbelow')
    assert 'an old table' not in text and text.count('| ours | onnx |') == 1 and 'ms, 2 threads' in text
    assert 'top-1' not in text and text.split(MARKS[0])[1].split(MARKS[1])[0].strip() in capsys.readouterr().out


@pytest.mark.parametrize('content', [None, 'no marks'])
def test_refuses_a_page_without_a_place_for_the_table(place, tmp_path, capsys, content):
    page = tmp_path / 'page.md'
    if content:
        page.write_text(content)
    assert main([*checkpoints(place, 'ours'), '--page', page]) == 2
    assert str(page) in capsys.readouterr().err


def test_refuses_to_measure_nothing(capsys):
    assert main(['--formats', 'onnx']) == 2
    assert 'checkpoints, or configs by --untrained' in capsys.readouterr().err


def test_says_which_config_is_missing(place, tmp_path, capsys):
    """None or several beside the checkpoint; that inside it is not built."""
    lonely = tmp_path / 'lonely.pth'
    lonely.write_bytes((place / 'ours/epoch_1.pth').read_bytes())
    for number in ('no', '2'):
        assert main([lonely]) == 2
        assert f'{number} configs lie beside it' in capsys.readouterr().err
        for name in ('a.py', 'b.py'):
            (tmp_path / name).touch()
    assert main([tmp_path / 'none.pth']) == 2
    assert 'there is no checkpoint file' in capsys.readouterr().err
    assert main([*checkpoints(place, 'ours', 'ours', 'ours'), '--config', 'a.py', 'b.py']) == 2
    assert '2 configs for 3 checkpoints' in capsys.readouterr().err


def test_refuses_weights_of_another_network(place, capsys):
    assert main([place / 'twin/epoch_1.pth', '--config', place / 'ours/ours.py', *SIZE]) == 2
    assert 'epoch_1.pth' in capsys.readouterr().err


def test_refuses_the_same_network_twice(place, capsys):
    assert main(checkpoints(place, 'ours', 'ours')) == 2
    assert 'two networks of one name' in capsys.readouterr().err


def test_a_checkpoint_with_anytime_is_measured_for_each_number(anytime_place, monkeypatch, capsys):
    monkeypatch.chdir(anytime_place)
    arguments = ['any.py.pth', '--config', 'any.py', *SIZE, '--formats', 'eager', '--limit', 0, '--rounds', 1,
                 '--threads', 1, '--steps']
    assert main([*arguments, 2, '1']) == 0
    out = capsys.readouterr().out
    assert 'any, L = 2' in out and 'any, L = 1' in out
    assert main([*arguments, 3]) == 2
    assert '3' in capsys.readouterr().err


def test_the_metric_that_a_task_is_known_by():
    assert main_metric({'coco/bbox_mAP_50': .5, 'coco/bbox_mAP': .25}) == ('AP', 25)
    assert main_metric({'mAcc': 40., 'mIoU': 30.}) == ('mIoU', 30)
    assert main_metric({'own': 3.}) == ('own', 3)
