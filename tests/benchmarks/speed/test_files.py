"""The timing of networks and their files: what is refused, and one run on real files."""
import json
from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')

from benchmarks.speed.files import KINDS, MARKS  # noqa: E402
from benchmarks.speed.workloads import calibrate_norms  # noqa: E402
from mobileode_mm import cli  # noqa: E402
from mobileode_mm.deploy import export  # noqa: E402
from mobileode_mm.runs.checks import build_model, config_scope  # noqa: E402
from mobileode_mm.runs.config import load_config  # noqa: E402


def main(arguments):
    return cli.main(['bench-files', *arguments])


ROOT = Path(__file__).parents[3]
CONFIG = """_base_ = '{base}'
model = dict(backbone=dict(widen_factor={width}{rest}))
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Configs, checkpoints and files of two narrow classifiers; the first has a second file beside its own."""
    folder = tmp_path_factory.mktemp('timing')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(folder / 'nothing'))
        for name, base, rest in (('ours', 'classify_mobileode_mini', ', num_steps=1'),
                                 ('twin', 'peers/classify_mobilenetv2_mini', '')):
            (folder / f'{name}.py').write_text(
                CONFIG.format(base=ROOT / 'configs' / f'{base}.py', width=0.25, rest=rest))
            cfg = load_config(folder / f'{name}.py')
            with config_scope(cfg):
                torch.manual_seed(0)
                model = revert_sync_batchnorm(build_model(cfg))
            calibrate_norms(model, lambda model=model: model(torch.randn(4, 3, 64, 64), mode='tensor'))
            torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('0123456789')))),
                       folder / f'{name}.pth')
            export(folder / f'{name}.py', folder / f'{name}.pth', folder / f'{name}.onnx', size=(64, 64))
        # The file's own twin in eight bits needs data to calibrate on; any that runs can be timed.
        (folder / 'ours.int8.onnx').write_bytes((folder / 'ours.onnx').read_bytes())
        yield folder


def arguments(folder, *names):
    return [argument for name in names for argument in
            ('--model', *(str(folder / f'{name}{suffix}') for suffix in ('.py', '.pth', '.onnx')))]


@pytest.mark.slow
def test_times_both_in_one_run(place, tmp_path, capsys):
    out = tmp_path / 'out'
    assert main([*arguments(place, 'ours', 'twin'), '--rounds', '2', '--threads', '1', '--out', str(out)]) == 0
    printed = capsys.readouterr().out
    result = json.loads((out / 'speed.json').read_text())
    variants = {variant['label']: variant for variant in result['variants']}
    kinds = [kind for kind in KINDS if kind != 'onnx with kernel']
    assert list(variants) == [f'ours/{kind}' for kind in kinds] + [f'twin/{kind}' for kind in kinds[:-1]]
    for label, variant in variants.items():
        assert variant['median_ms'] > 0 and len(variant['samples_ms']) == 2
        assert (variant['bytes'] is not None) == ('onnx' in label)
        assert set(variant['ratios']) == {f'twin/{kind}' for kind in kinds[:-1]}
    assert variants['twin/eager']['ratios']['twin/eager']['median'] == 1
    assert variants['ours/onnx']['bytes'] == (place / 'ours.onnx').stat().st_size
    assert (out / 'speed.md').read_text() in printed and '1 threads' in printed
    assert main([*arguments(place, 'ours'), '--out', str(out)]) == 2
    assert 'would be written over' in capsys.readouterr().err


@pytest.mark.slow
def test_untrained_networks_are_exported_and_written_into_a_page(place, tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('\n'.join(['above', MARKS[0], 'an old table', MARKS[1], 'below']))
    options = ['--kinds', 'onnx', 'onnx with kernel', '--threads', '1', '2', '--rounds', '2', '--size', '64', '64',
               '--page', str(page)]
    assert main(['--untrained', str(place / 'ours.py'), str(place / 'twin.py'), *options]) == 0
    text = page.read_text()
    assert text.startswith(f'above\n{MARKS[0]}\n- ') and text.endswith(f'|\n{MARKS[1]}\nbelow')
    assert 'an old table' not in text and text.count('| ours | onnx |') == 2
    assert text.count('| ours | onnx with kernel |') == 2
    assert 'eager' not in text and text.split(MARKS[0])[1].split(MARKS[1])[0].strip() in capsys.readouterr().out


@pytest.mark.parametrize('content', [None, 'no marks'])
def test_refuses_a_page_without_a_place_for_the_table(place, tmp_path, capsys, content):
    page = tmp_path / 'page.md'
    if content:
        page.write_text(content)
    assert main([*arguments(place, 'ours'), '--page', str(page)]) == 2
    assert str(page) in capsys.readouterr().err


def test_refuses_to_time_nothing(capsys):
    assert main(['--kinds', 'onnx']) == 2
    assert '--model or --untrained' in capsys.readouterr().err


def test_refuses_the_file_of_other_weights(place, tmp_path, capsys):
    swapped = ['--model', *(str(place / name) for name in ('ours.py', 'ours.pth', 'twin.onnx'))]
    assert main([*swapped, '--rounds', '1']) == 2
    assert 'does not compute what the network computes' in capsys.readouterr().err


@pytest.mark.parametrize('content, message', [
    (None, 'cannot be read'), (b'no network', 'cannot be read'), ('bare', 'was not made by')])
def test_refuses_foreign_files(place, tmp_path, capsys, content, message):
    import onnx
    path = tmp_path / 'file.onnx'
    if content == 'bare':
        model = onnx.load(str(place / 'ours.onnx'))
        del model.metadata_props[:]
        onnx.save(model, str(path))
    elif content is not None:
        path.write_bytes(content)
    assert main(['--model', str(place / 'ours.py'), str(place / 'ours.pth'), str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(path) in error


def test_refuses_the_same_config_twice(place, capsys):
    assert main(arguments(place, 'ours', 'ours')) == 2
    assert 'named twice' in capsys.readouterr().err
