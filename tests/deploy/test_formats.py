"""The table of formats, and files of each runtime that is installed: made, compared, and run by ``mobileode run``."""
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from PIL import Image

from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.apis import Inferencer
from mobileode_mm.cli import main
from mobileode_mm.deploy import export
from mobileode_mm.deploy.formats import DYNAMIC, FORMATS, format_of, needed
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

ROOT = Path(__file__).parents[2]
CONFIGS = {'detection': 'ssdlite_mobileode_mini', 'segmentation': 'deeplabv3_mobileode_mini',
           'classification': 'classify_mobileode_mini'}
OPTIONS = {'model.backbone.widen_factor': 0.25, 'model.backbone.num_steps': 1}
CLASSES = tuple('abcdefghij')
SIZES = dict(detection=None, segmentation=(96, 128), classification=None)


def installed(file_format):
    one = FORMATS[file_format]
    missing = one.missing([*one.writes_with, *one.runs_with])
    return pytest.param(file_format, marks=pytest.mark.skipif(
        bool(missing), reason=f'{", ".join(missing)} is not installed (the extra "{one.extra}")'))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Checkpoints of untrained networks with the norms of trained ones, and an image; no data."""
    folder = tmp_path_factory.mktemp('formats')
    for task, name in CONFIGS.items():
        cfg = load_config(ROOT / 'configs' / f'{name}.py', OPTIONS)
        with config_scope(cfg):
            torch.manual_seed(0)
            model = revert_sync_batchnorm(build_model(cfg))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        calibrate_norms(model, lambda model=model: model(torch.randn(4, 3, 192, 192), mode='tensor'))
        classes = ('ground', *CLASSES) if task == 'segmentation' else CLASSES
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))),
                   folder / f'{task}.pth')
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((150, 100), Image.BICUBIC).save(
        folder / 'image.png')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(tmp_path_factory.mktemp('nothing')))
        yield folder


def check(place, out, capsys, task, file_format):
    """Export, read the metadata back, and compare ``mobileode run`` with the toolbox's prediction."""
    config, checkpoint = ROOT / 'configs' / f'{CONFIGS[task]}.py', place / f'{task}.pth'
    one = FORMATS[file_format]
    path = out / f'network{one.suffix}'
    exported = export(config, checkpoint, path, file_format, size=SIZES[task], cfg_options=OPTIONS)
    assert all(row.good for row in exported.rows) and {'input', 'features'} < {row.quantity for row in exported.rows}
    assert sorted(path.parent.iterdir()) == sorted(one.files(path))
    assert one.metadata(path) == exported.metadata and format_of(path) == file_format

    masks = ['--masks', str(out / 'masks')] if task == 'segmentation' else []
    capsys.readouterr()
    assert main(['run', str(path), str(place / 'image.png'), '--score-thr', '0.02', '--threads', '1', *masks]) == 0
    found = json.loads(capsys.readouterr().out)
    pixels = cv2.imread(str(place / 'image.png'))
    if task == 'classification':  # whose pipeline leaves images as they are
        pixels = cv2.resize(pixels, (64, 64))
    expected = Inferencer(config, checkpoint, 'cpu', cfg_options=OPTIONS, deploy=False)([pixels])[0]
    if task == 'classification':
        assert found['label'] == CLASSES[expected.scores.argmax()]
        assert found['score'] == pytest.approx(expected.scores.max(), abs=0.02)
    elif task == 'segmentation':
        mask = np.asarray(Image.open(out / 'masks' / 'image.png'))
        # It sees an image of another size, and resizes the mask, the toolbox the logits.
        assert mask.shape == (100, 150) and sum(found['pixels'].values()) == mask.size
    else:
        boxes, labels, scores = expected
        assert len(scores) > 20
        for box, label, score in list(zip(boxes, labels, scores))[:10]:
            same = [one for one in found['boxes'] if one['label'] == CLASSES[label]
                    and np.abs(np.subtract(one['box'], box)).max() < 1]
            assert same and min(abs(one['score'] - score) for one in same) < 0.02


@pytest.mark.parametrize('task, file_format', [('detection', 'torchscript'),
                                               ('segmentation', 'torchscript')])
def test_pytorchs_recording_by_mobileode_run(place, tmp_path, capsys, task, file_format):
    check(place, tmp_path, capsys, task, file_format)


@pytest.mark.parametrize('file_format', [installed('ncnn')])
@pytest.mark.parametrize('task', CONFIGS)
def test_the_fast_converter_by_mobileode_run(place, tmp_path, capsys, task, file_format):
    check(place, tmp_path, capsys, task, file_format)


@pytest.mark.slow
@pytest.mark.parametrize('file_format', [installed(name) for name in FORMATS if name not in ('torchscript', 'ncnn')])
@pytest.mark.parametrize('task', CONFIGS)
def test_every_runtime_by_mobileode_run(place, tmp_path, capsys, task, file_format):
    check(place, tmp_path, capsys, task, file_format)


@pytest.mark.slow
@pytest.mark.parametrize('file_format', [installed('openvino')])
def test_openvino_suppresses_and_takes_any_size(place, tmp_path, file_format):
    exported = export(ROOT / 'configs' / f'{CONFIGS["detection"]}.py', place / 'detection.pth', tmp_path / 'a.xml',
                      file_format, with_nms=True, cfg_options=OPTIONS)
    assert all(row.good for row in exported.rows) and 'not found' in {row.quantity for row in exported.rows}
    exported = export(ROOT / 'configs' / f'{CONFIGS["segmentation"]}.py', place / 'segmentation.pth',
                      tmp_path / 'b.xml', file_format, dynamic='both', cfg_options=OPTIONS)
    assert all(row.good for row in exported.rows)


def test_formats_are_told_apart_by_their_names():
    for name, one in FORMATS.items():
        assert format_of(Path(f'network{one.suffix}')) == name
        assert (set(one.free) == set(DYNAMIC)) == (not one.why_fixed)
    with pytest.raises(InputError, match=r'\.onnx, .*\.pte'):
        format_of(Path('network.h5'))


def test_what_is_missing_is_named_with_the_fix(monkeypatch):
    for name, one, fix in (('ncnn', type(FORMATS['ncnn']), r'pip install "mobileode-mm\[ncnn\]"'),
                           ('litert', type(FORMATS['litert']), 'make install-litert')):
        class Absent(one):
            writes_with = ('no_such_converter', )
            runs_with = ('no_such_runtime', )

        monkeypatch.setitem(FORMATS, name, Absent())
        with pytest.raises(InputError, match=f'--format {name} needs no_such_converter and no_such_runtime: {fix}'):
            needed(name, False)


def test_a_file_without_what_belongs_to_it_or_of_another_program_is_refused(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('a.pt').write_text('no file of PyTorch')
    module = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))
    torch.jit.save(module, 'b.pt')
    torch.jit.save(module, 'c.pt', _extra_files={'metadata.json': json.dumps(dict(
        task='detection', classes='["a"]', prepare='[]', outputs='["boxes", "scores"]'))})
    image = str(place / 'image.png')
    for arguments, words in ((['a.pt', image], 'a.pt cannot be loaded'), (['b.pt', image], 'was not written by'),
                             (['c.pt', image], 'does not say how the best are chosen'),
                             (['absent.pt', image], 'absent.pt: no such file'), (['a.h5', image], 'ends in .onnx'),
                             (['b.pt', image, '--custom-ops', 'b.so'], 'b.pt is none'),
                             (['b.pt', image, '--threads', '-1'], '--threads -1')):
        assert main(['run', *arguments]) == 2
        found, reported = capsys.readouterr()
        assert not found and reported.startswith('error: ') and words in reported and len(reported.splitlines()) == 1
    assert sorted(os.listdir()) == ['a.pt', 'b.pt', 'c.pt']
