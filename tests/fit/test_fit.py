"""`mobileode fit`, from a folder to a report, on every format."""
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mobileode_mm import cli
from mobileode_mm.data.trees import make_tree_data
from mobileode_mm.errors import InputError
from mobileode_mm.fit import report
from mobileode_mm.fit.fit import fit
from mobileode_mm.runs.config import load_config

from .conftest import CLASSES, Scene, write_voc


def listing(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name, headline', [('YOLO', 'AP50'), ('class folders', 'top-1'), ('images and masks', 'mIoU')])
def test_from_a_folder_to_a_report(name, headline, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = listing(folders[name])
    out = tmp_path / 'my run'
    made = fit(folders[name], out, epochs=1, batch_size=4, size=64)
    assert listing(folders[name]) == before, 'the data are left as they are'
    assert 0 <= made.metrics[headline] <= 1
    assert made.checkpoint.name.startswith('best_') and (out / 'labels.png').stat().st_size > 1000
    page = made.report.read_text()
    for title in ('Next', 'Chosen', 'Training', 'By class', 'Confusion', 'Labels'):
        assert f'<h2>{title}</h2>' in page
    assert ('Precision and recall' in page) == (name == 'YOLO')
    assert not re.search(r'(src|href)="(?!data:)', page), 'the report needs no network'
    assert not {'red', 'green', 'blue'} - set(re.findall(r'<td>(\w+)</td>', page))
    figures = json.loads(made.report.with_suffix('.json').read_text())
    assert {key: value for key, value in figures['metrics'].items() if value is not None} == pytest.approx(
        {key: value for key, value in made.metrics.items() if value == value})
    assert {'red', 'green', 'blue'} <= figures['by_class'].keys() and figures['images'] > 0
    assert np.shape(figures['confusion']['counts']) == (len(figures['confusion']['names']), ) * 2
    # The next commands, as they are printed, have the files' names, as a shell takes them.
    printed = capsys.readouterr().out
    assert f"next: mobileode infer '{made.config}' '{made.checkpoint}'" in printed and str(made.report) in printed
    size = dict(YOLO=' --with-nms', **{'images and masks': ' --dynamic size'}).get(name, '')
    assert f"next: mobileode export '{made.config}' '{made.checkpoint}' --out model.onnx{size}\n" in printed
    # The config is the user's: it is what was trained, and trains again.
    cfg = load_config(made.config)
    assert cfg.train_cfg.max_epochs == 1 and cfg.train_dataloader.batch_size == 4
    assert (out / 'runs' / made.config.name).is_file()


def test_names_of_classes_are_no_mathematics():
    names = ['$5 to $10', '$^$']
    judged = SimpleNamespace(curves={name: ([0, 1], [1, 0]) for name in names}, names=names,
                             confusion=np.eye(2, dtype=int))
    for figure in (report._recall_figure(judged), report._confusion_figure(judged)):
        assert report._drawn(figure).startswith('<img')


@pytest.mark.parametrize('name', ['COCO', 'VOC XML'])
def test_all_but_the_training(name, folders, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments = ['fit', str(folders[name]), '--work-dir', str(out), '--dry-run', '--model', 'mobilenet_v2',
                 '--epochs', '7', '--seed', '3']
    assert cli.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ['data', 'labels.png', 'out.py']
    assert 'finest map: stride' in capsys.readouterr().out
    cfg = load_config(out / 'out.py')
    assert cfg.model.backbone.type == 'mmdet.MobileNetV2' and cfg.model.bbox_head.num_classes == 3
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == cfg.param_scheduler[1].end == 7
    assert cfg.randomness.seed == 3
    assert cli.main(arguments) == 2, 'nothing is written over'
    assert 'out' in capsys.readouterr().err


def test_the_edge_preset(folders, tmp_path):
    made = fit(folders['COCO'], tmp_path / 'out', model='mobileode_v1_edge', dry_run=True)
    backbone, preset = (load_config(config).model.backbone for config in (
        made.config, Path(__file__).parents[2] / 'configs/ssdlite_mobileode_edge_mini.py'))
    same = ('type', 'sides', 'num_steps', 'solver_norm', 'act_cfg')
    assert [backbone[key] for key in same] == [preset[key] for key in same]


@pytest.mark.parametrize('arguments, message', [
    (dict(model='resnet'), '--model resnet is none of mobileode_v1'),
    (dict(log_to=['stdout']), '--log-to stdout is none of'),
    (dict(batch_size=64), '12 training images are fewer than a batch of 64'),
    (dict(epochs=0), '--epochs 0'),
    (dict(size=20), '--size 20'),
])
def test_what_cannot_be_is_refused(arguments, message, folders, tmp_path):
    with pytest.raises(InputError, match=message):
        fit(folders['YOLO'], tmp_path / 'out', dry_run=True, **arguments)
    assert not (tmp_path / 'out').exists(), 'nothing is left behind'


def test_a_package_that_is_not_installed_is_named_before_anything_is_made(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'clearml', None)
    with pytest.raises(InputError, match='--log-to clearml needs the package clearml'):
        fit(folders['YOLO'], tmp_path / 'out', log_to=['clearml'])
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content, message', [
    (None, 'is no checkpoint'), (dict(weight=torch.ones(3)), 'is a checkpoint of another network')])
def test_a_start_that_cannot_be_is_refused_before_the_training(content, message, folders, tmp_path):
    start = tmp_path / 'start.pth'
    start.write_text('no checkpoint') if content is None else torch.save(content, start)
    with pytest.raises(InputError, match=message):
        fit(folders['class folders'], tmp_path / 'out', start=start)
    assert not (tmp_path / 'out').exists(), 'the corrected command finds an empty place'


@pytest.mark.parametrize('dry_run', [True, False])
def test_an_image_that_ends_early_is_refused_before_the_training(dry_run, tmp_path):
    for number in range(8):  # of validation, whose images are not on the sheet of labels
        Scene(number).save(tmp_path / 'data' / ('train', 'val')[number // 4] / CLASSES[number % 2], '.jpg')
    cut = tmp_path / 'data' / 'val' / CLASSES[0] / 'scene_4.jpg'
    cut.write_bytes(cut.read_bytes()[:-300])
    with pytest.raises(InputError, match='scene_4.jpg'):
        fit(tmp_path / 'data', tmp_path / 'out', dry_run=dry_run, epochs=1)
    assert not (tmp_path / 'out').exists(), 'the corrected command finds an empty place'


def test_names_in_other_alphabets_and_one_that_is_no_utf8(tmp_path):
    for number in range(8):
        Scene(number).save(tmp_path / 'data' / ('Bäume', '松')[number % 2], '.jpg')
    made = fit(tmp_path / 'data', tmp_path / 'out', dry_run=True, epochs=1)
    assert load_config(made.config).train_dataloader.dataset.metainfo.classes == ('Bäume', '松')
    odd = os.fsencode(tmp_path / 'data/Bäume/caf') + b'\xe9.jpg'
    os.rename(tmp_path / 'data/Bäume/scene_0.jpg', odd)
    with pytest.raises(InputError, match=r'Bäume/caf\\xe9.jpg 0: a name that is not in UTF-8'):
        fit(tmp_path / 'data', tmp_path / 'again', dry_run=True, epochs=1)
    assert not (tmp_path / 'again').exists()


def test_large_images_are_tiled(tmp_path, capsys):
    """A large photograph of small objects, without splits: a part of it is for validation, its tiles for training."""
    scene = Scene(1, size=256, count=0)
    for x, y in np.random.default_rng(0).integers(0, 244, (24, 2)).tolist():
        scene.pixels[y:y + 12, x:x + 12, 2] = 255
        scene.boxes.append((x, y, x + 12, y + 12))
        scene.labels.append(2)
    write_voc(tmp_path / 'aerial', dict(photographs=[scene]))
    made = fit(tmp_path / 'aerial', tmp_path / 'out', epochs=1, size=96)
    assert made.metrics['AP'] >= 0
    cfg = load_config(made.config)
    assert cfg.model.test_cfg.tile.size == 96
    assert cfg.val_dataloader.dataset.pipeline[1].scale_factor == 2
    out = capsys.readouterr().out
    assert 'tiles: 48 px of the image, 96 px of the network' in out and 'validation: 1 parts of images' in out


def test_trees_need_the_wheel_that_they_are_from(tmp_path):
    other = tmp_path / 'other.whl'
    other.write_bytes(b'no wheel')
    with pytest.raises(InputError, match='its checksum differs'):
        make_tree_data(tmp_path / 'trees', other)
    assert not (tmp_path / 'trees').exists()
    (tmp_path / 'mine').mkdir()
    shutil.copy(other, tmp_path / 'mine')
    with pytest.raises(InputError, match='does not hold the tree photographs'):
        make_tree_data(tmp_path / 'mine', other)
