import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import mobileode_mm.data
from mobileode_mm.cli import main
from mobileode_mm.data import MINI_CLASSES, make_mini_data
from mobileode_mm.errors import InputError

COUNTS = {'detection': (24, 12), 'segmentation': (6, 4), 'classification': (20, 10)}
SMALLEST = {'detection': (1, 1), 'segmentation': (1, 1), 'classification': (10, 10)}
SMALLEST_FLAGS = ['--detection', '1', '1', '--segmentation', '1', '1', '--classification', '10', '10']
SPLITS = ('train', 'val')


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'mini'
    assert make_mini_data(out, **COUNTS)
    return out


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def coco_of(mini, split):
    return COCO(mini / f'coco/annotations/instances_{split}2017.json')


def test_same_parameters_same_bytes_other_seed_other_pictures(mini, tmp_path):
    make_mini_data(tmp_path / 'again', **COUNTS)
    assert contents(tmp_path / 'again') == contents(mini)

    make_mini_data(tmp_path / 'other', seed=1, **SMALLEST)
    other = contents(tmp_path / 'other')
    pictures = [name for name in other if name.endswith(('.jpg', '.png'))]
    assert len(pictures) == 26
    assert not [name for name in pictures if other[name] == contents(mini)[name]]


def test_a_larger_set_begins_with_the_smaller(mini, tmp_path):
    make_mini_data(tmp_path / 'small', **SMALLEST)
    large = contents(mini)
    for name, content in contents(tmp_path / 'small').items():
        if name.endswith(('.jpg', '.png')):
            assert large[name] == content


def test_checksums_name_every_file(mini):
    sums = dict(reversed(line.split('  ')) for line in (mini / 'SHA256SUMS').read_text().splitlines())
    files = contents(mini)
    assert set(sums) == set(files) - {'SHA256SUMS', 'mini.json'}
    assert all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in sums.items())


def test_train_and_val_share_neither_glyph_nor_photograph(mini):
    provenance = json.loads((mini / 'provenance.json').read_text())
    used = {split: {'photograph': set(), 'glyph': set()} for split in SPLITS}
    for name, origin in provenance['pictures'].items():
        split = next(split for split in SPLITS if split in name)
        used[split]['photograph'].add(origin['photograph'])
        used[split]['glyph'].update(glyph for glyph, _ in origin['glyphs'])
    for split in SPLITS:
        assert used[split]['photograph'] <= set(provenance['photographs'][split])
        assert used[split]['glyph'] <= set(provenance['glyphs'][split])
    assert not set(provenance['photographs']['train']) & set(provenance['photographs']['val'])
    glyphs = provenance['glyphs']
    assert not set(glyphs['train']) & set(glyphs['val'])
    assert sorted(glyphs['train'] + glyphs['val']) == list(range(1797))


def test_provenance_covers_every_picture_and_agrees_with_the_labels(mini):
    from sklearn.datasets import load_digits
    target = load_digits().target
    pictures = json.loads((mini / 'provenance.json').read_text())['pictures']
    assert set(pictures) == {str(path.relative_to(mini)) for path in mini.rglob('*')
                             if path.suffix in ('.jpg', '.png') and path.parent.name != 'SegmentationClass'}
    for origin in pictures.values():
        assert all(target[glyph] == label for glyph, label in origin['glyphs'])
    for split in SPLITS:
        coco = coco_of(mini, split)
        for image in coco.loadImgs(coco.getImgIds()):
            labels = [a['category_id'] - 1 for a in coco.loadAnns(coco.getAnnIds(image['id']))]
            assert labels == [label for _, label in
                              pictures[f'coco/{split}2017/{image["file_name"]}']['glyphs']]


@pytest.mark.parametrize('split', SPLITS)
def test_coco_boxes_are_tight_apart_and_of_the_stated_size(mini, split):
    coco = coco_of(mini, split)
    categories = [(category['id'], category['name']) for category in coco.loadCats(coco.getCatIds())]
    assert categories == list(enumerate(MINI_CLASSES, start=1))
    assert sorted(coco.getImgIds()) == list(range(1, COUNTS['detection'][SPLITS.index(split)] + 1))
    assert sorted(coco.getAnnIds()) == list(range(1, len(coco.getAnnIds()) + 1))
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(mini / f'coco/{split}2017' / image['file_name'])
        assert picture.shape == (image['height'], image['width'], 3) == (320, 320, 3)
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        assert 3 <= len(annotations) <= 7
        covered = np.zeros((320, 320), int)
        for annotation in annotations:
            x, y, width, height = annotation['bbox']
            mask = coco.annToMask(annotation)
            assert cv2.boundingRect(mask) == (x, y, width, height)
            assert annotation['area'] == mask.sum() and annotation['iscrowd'] == 0
            assert 56 <= max(width, height) <= 150
            covered[y:y + height, x:x + width] += 1
        assert covered.max() == 1


def test_digits_stand_off_from_their_ground(mini):
    """Ink and the ground close around it differ in colour, for nearly all digits visibly."""
    coco = coco_of(mini, 'val')
    differences = []
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        picture = cv2.imread(mini / 'coco/val2017' / coco.loadImgs(annotation['image_id'])[0]['file_name'])
        ring = cv2.dilate(mask, np.ones((25, 25))) - cv2.dilate(mask, np.ones((9, 9)))
        ink, ground = picture[mask == 1].mean(axis=0), picture[ring == 1].mean(axis=0)
        differences.append(np.abs(ink - ground).max())
    assert np.percentile(differences, 5) > 20


def test_mmdet_reads_the_scenes(mini):
    from mmdet.datasets import CocoDataset
    for split, count in zip(SPLITS, COUNTS['detection'], strict=True):
        dataset = CocoDataset(
            data_root=str(mini / 'coco'), ann_file=f'annotations/instances_{split}2017.json',
            data_prefix={'img': f'{split}2017/'}, metainfo={'classes': MINI_CLASSES},
            pipeline=[{'type': 'LoadImageFromFile'},
                      {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True}])
        assert len(dataset) == count
        coco = coco_of(mini, split)
        item = dataset[0]
        annotations = coco.loadAnns(coco.getAnnIds(item['img_id']))
        assert item['gt_bboxes_labels'].tolist() == [a['category_id'] - 1 for a in annotations]
        for mask, annotation in zip(item['gt_masks'].masks, annotations, strict=True):
            np.testing.assert_array_equal(mask, coco.annToMask(annotation))


def test_voc_pairs_are_complete_and_their_labels_legal(mini):
    root = mini / 'VOCdevkit/VOC2012'
    lists = [(root / f'ImageSets/Segmentation/{split}.txt').read_text().split() for split in SPLITS]
    assert [len(names) for names in lists] == list(COUNTS['segmentation'])
    names = sorted(name for names in lists for name in names)
    assert sorted(path.stem for path in (root / 'JPEGImages').glob('*.jpg')) == names
    assert sorted(path.stem for path in (root / 'SegmentationClass').glob('*.png')) == names
    pictures = json.loads((mini / 'provenance.json').read_text())['pictures']
    for name in names:
        labels = Image.open(root / f'SegmentationClass/{name}.png')
        assert labels.mode == 'P'
        # The first colours of VOC's map, as its development kit lists them; 255 is its void.
        assert labels.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        assert labels.getpalette()[3 * 255:] == [224, 224, 192]
        labels = np.array(labels)
        picture = f'VOCdevkit/VOC2012/JPEGImages/{name}.jpg'
        assert cv2.imread(mini / picture).shape[:2] == labels.shape
        expected = {label + 1 for _, label in pictures[picture]['glyphs']}
        assert set(np.unique(labels)) == expected | {0, 255}
        # An edge is thin: most of a digit keeps its label.
        assert (labels == 255).sum() < ((labels > 0) & (labels < 255)).sum()


def test_mmseg_reads_the_label_maps(mini):
    from mmseg.datasets import BaseSegDataset
    dataset = BaseSegDataset(
        data_root=str(mini / 'VOCdevkit/VOC2012'), ann_file='ImageSets/Segmentation/train.txt',
        data_prefix={'img_path': 'JPEGImages', 'seg_map_path': 'SegmentationClass'},
        metainfo={'classes': ('background', *MINI_CLASSES)},
        pipeline=[{'type': 'LoadImageFromFile'}, {'type': 'mmseg.LoadAnnotations'}])
    assert len(dataset) == COUNTS['segmentation'][0]
    item = dataset[0]
    np.testing.assert_array_equal(item['gt_seg_map'], np.array(Image.open(item['seg_map_path'])))


def test_class_folders_are_balanced_and_mmpretrain_reads_them(mini):
    from mmpretrain.datasets import CustomDataset
    for split, count in zip(SPLITS, COUNTS['classification'], strict=True):
        folders = {folder.name: len(list(folder.glob('*.png')))
                   for folder in (mini / 'classification' / split).iterdir()}
        assert folders == {name: count // 10 for name in MINI_CLASSES}
        dataset = CustomDataset(data_root=str(mini / 'classification'), data_prefix=split,
                                pipeline=[{'type': 'LoadImageFromFile'}])
        assert len(dataset) == count
        for item in dataset:
            assert item['img'].shape == (64, 64, 3)
            assert dataset.CLASSES[item['gt_label']] == Path(item['img_path']).parent.name


def test_second_run_has_nothing_to_do(mini, capsys):
    before = {path: path.stat().st_mtime_ns for path in mini.rglob('*')}
    flags = [str(word) for task, counts in COUNTS.items() for word in (f'--{task}', *counts)]
    assert main(['mini-data', '--out', str(mini), *flags]) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in mini.rglob('*')} == before


@pytest.mark.parametrize('spoil, word', [
    (lambda out: (out / 'coco/train2017/000000000001.jpg').unlink(), '000000000001.jpg'),
    (lambda out: (out / 'provenance.json').write_text('{}'), 'provenance.json'),
    (lambda out: (out / 'SHA256SUMS').write_text(''), 'SHA256SUMS'),
    (lambda out: (out / 'mini.json').write_text('{"seed": '), 'not mini data'),
    (lambda out: (out / 'mini.json').unlink(), 'not mini data')])
def test_spoilt_data_is_neither_trusted_nor_touched(tmp_path, spoil, word):
    out = tmp_path / 'mini'
    make_mini_data(out, **SMALLEST)
    spoil(out)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=word):
        make_mini_data(out, **SMALLEST)
    assert contents(tmp_path) == before


def test_foreign_folder_and_other_parameters_are_refused_and_untouched(mini, tmp_path, capsys):
    foreign = tmp_path / 'mine'
    foreign.mkdir()
    (foreign / 'notes.txt').write_text('mine')
    file = tmp_path / 'file'
    file.write_text('mine')
    before = contents(tmp_path), contents(mini)
    for out, word in ((foreign, 'not mini data'), (file, 'not mini data'), (file / 'mini', 'file'),
                      (mini, 'seed 0 (wanted: 3)')):
        assert main(['mini-data', '--out', str(out), '--seed', '3']) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith('error: ') and word in captured.err and str(out) in captured.err
    assert (contents(tmp_path), contents(mini)) == before


def test_bad_parameters_are_refused(tmp_path):
    for wrong in ({'seed': -1}, {'detection': (0, 1)}, {'segmentation': (1, 1, 1)},
                  {'classification': (9, 10)}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            make_mini_data(tmp_path / 'mini', **wrong)
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    assert main(['mini-data', '--out', str(tmp_path / 'mini')]) == 2
    error = capsys.readouterr().err
    assert 'sklearn' in error and 'pip install scikit-learn' in error
    assert not list(tmp_path.iterdir())


def test_default_place_follows_the_data_root(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MOBILEODE_DATA', raising=False)
    assert main(['mini-data', *SMALLEST_FLAGS]) == 0
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path / 'elsewhere'))
    assert main(['mini-data', *SMALLEST_FLAGS]) == 0
    assert contents(tmp_path / 'data/mini') == contents(tmp_path / 'elsewhere/mini')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'elsewhere']


def test_empty_folder_and_link_are_filled(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'mini').symlink_to(tmp_path / 'disk')
    assert make_mini_data(tmp_path / 'mini', **SMALLEST)
    assert (tmp_path / 'mini').is_symlink() and (tmp_path / 'disk/mini.json').is_file()
    assert not make_mini_data(tmp_path / 'mini', **SMALLEST)


def test_progress_counts_every_picture(tmp_path):
    calls = []
    make_mini_data(tmp_path / 'mini', **SMALLEST, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 24) for done in range(1, 25)]


def test_error_in_the_middle_leaves_nothing(tmp_path):
    def fail(done, total):
        if done == 15:
            raise OSError(28, 'No space left on device')

    with pytest.raises(InputError, match='No space left'):
        make_mini_data(tmp_path / 'mini', **SMALLEST, progress=fail)
    assert not list(tmp_path.iterdir())


def test_killed_run_leaves_nothing_at_out_and_the_next_cleans_up(tmp_path):
    out = tmp_path / 'mini'
    tool = Path(mobileode_mm.data.__file__).parents[2] / 'tools/make_mini_data.py'
    process = subprocess.Popen([sys.executable, str(tool), '--out', str(out)])
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob('.mini.unfinished-*/data/coco/train2017/*.jpg')):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert list(tmp_path.glob('.mini.unfinished-*/data/*'))

    # A run still at work, and a folder of the user's that only looks like a leftover, stay as they are.
    alive = tmp_path / '.mini.unfinished-alive'
    alive.mkdir()
    users = tmp_path / '.mini.unfinished-users'
    users.mkdir()
    with open(alive / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert make_mini_data(out, **SMALLEST)
        assert sorted(os.listdir(tmp_path)) == [alive.name, users.name, 'mini']
