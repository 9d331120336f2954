"""Conversion of a miniature in the true layouts of Pascal VOC 2012 and of the Semantic Boundaries Dataset."""

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from mobileode_mm.cli import main
from mobileode_mm.data import voc_aug
from mobileode_mm.data.label_maps import palette_png
from mobileode_mm.data.voc_aug import convert_voc_aug

ROOT = Path(__file__).parents[2]
TRAIN = ['2007_000032', '2008_000008', '2009_000012']
VAL = ['2007_000033', '2008_000009']
# SBD has some of both of VOC's lists in both of its own, but not all.
SBD_TRAIN = ['2008_000008', '2008_000009', '2008_000002', '2010_000021']
SBD_VAL = ['2009_000012', '2007_000033', '2008_000003', '2011_000045', '2010_000004']
AUG = ['2008_000002', '2008_000003', '2010_000004', '2010_000021', '2011_000045']
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}


def labels_of(name, source):
    """Half background, two objects; in VOC with void between. The size varies with the name."""
    rng = np.random.default_rng([int(name[:4]), int(name[5:])])
    height, width = rng.integers(20, 40, 2)
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2:, :width // 3] = rng.integers(1, 21)
    labels[height // 2:, width // 3:] = rng.integers(1, 21)
    if source == 'VOC':
        labels[height // 2] = 255
    return labels


def save_mat(path, labels):
    boundaries = np.empty((20, 1), object)
    for label in range(1, 21):
        boundaries[label - 1, 0] = csc_matrix(labels == label)
    present = np.setdiff1d(np.unique(labels), [0]).astype(np.uint8)
    savemat(path, {'GTcls': {'Boundaries': boundaries, 'Segmentation': labels, 'CategoriesPresent': present[:, None]}},
            do_compression=True)


def make_voc(root):
    voc = root / 'VOCdevkit/VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (voc / folder).mkdir(parents=True)
    for name in {*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL}:
        height, width = labels_of(name, 'VOC').shape
        Image.new('RGB', (width, height), (90, 120, 200)).save(voc / f'JPEGImages/{name}.jpg')
    for split, names in (('train', TRAIN), ('val', VAL)):
        (voc / f'ImageSets/Segmentation/{split}.txt').write_text(''.join(f'{name}\n' for name in names))
        for name in names:
            (voc / f'SegmentationClass/{name}.png').write_bytes(palette_png(labels_of(name, 'VOC')))
    return voc


def make_sbd(root):
    sbd = root / 'benchmark_RELEASE'
    for folder in ('cls', 'img'):
        (sbd / 'dataset' / folder).mkdir(parents=True)
    for split, names in (('train', SBD_TRAIN), ('val', SBD_VAL)):
        (sbd / f'dataset/{split}.txt').write_text('\n'.join(names) + '\n')
        for name in names:
            labels = labels_of(name, 'SBD')
            save_mat(sbd / f'dataset/cls/{name}.mat', labels)
            Image.new('RGB', labels.shape[::-1]).save(sbd / f'dataset/img/{name}.jpg')
    return sbd


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp('original')
    make_voc(root)
    make_sbd(root)
    return root


@pytest.fixture
def data(originals, tmp_path):
    """(VOC2012, benchmark_RELEASE), to be spoilt."""
    shutil.copytree(originals, tmp_path / 'data')
    return tmp_path / 'data/VOCdevkit/VOC2012', tmp_path / 'data/benchmark_RELEASE'


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def command(*arguments):
    return main(['voc-aug', *map(str, arguments)])


def test_lists_and_masks(data):
    voc, sbd = data
    before = contents(voc)
    calls = []
    done = convert_voc_aug(voc, sbd, subset=True, progress=lambda *call: calls.append(call))
    assert done == {'aug': 5, 'trainaug': 8, 'written': 8, 'kept': 0}
    assert calls == [(number, 8) for number in range(1, 9)]

    lists = {name: (voc / f'ImageSets/Segmentation/{name}.txt').read_text().split() for name in ('aug', 'trainaug')}
    assert lists['aug'] == AUG
    assert lists['trainaug'] == sorted(TRAIN + AUG)
    assert not set(lists['trainaug']) & set(VAL)
    masks = voc / 'SegmentationClassAug'
    assert sorted(os.listdir(masks)) == [f'{name}.png' for name in lists['trainaug']]
    for name in lists['trainaug']:
        with Image.open(masks / f'{name}.png') as mask:
            assert mask.mode == 'P'
            palette = mask.getpalette()
            assert all(tuple(palette[3 * label:3 * label + 3]) == colour for label, colour in COLOURS.items())
            np.testing.assert_array_equal(np.asarray(mask), labels_of(name, 'VOC' if name in TRAIN else 'SBD'))
    for name in TRAIN:
        assert (masks / f'{name}.png').read_bytes() == before[f'SegmentationClass/{name}.png']
    after = contents(voc)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {*(f'SegmentationClassAug/{name}.png' for name in lists['trainaug']),
                                            *(f'ImageSets/Segmentation/{name}.txt' for name in lists)}


def test_same_labels_as_torchvision_reads(data):
    """torchvision's own reader of SBD takes the miniature for SBD, and sees what we wrote."""
    from torchvision.datasets import SBDataset
    voc, sbd = data
    convert_voc_aug(voc, sbd, subset=True)
    for split, names in (('train', SBD_TRAIN), ('val', SBD_VAL)):
        dataset = SBDataset(str(sbd / 'dataset'), image_set=split, mode='segmentation')
        assert len(dataset) == len(names)
        for name, (_, labels) in zip(names, dataset, strict=True):
            if name in AUG:
                with Image.open(voc / f'SegmentationClassAug/{name}.png') as mask:
                    np.testing.assert_array_equal(np.asarray(mask), np.asarray(labels))


def test_mmseg_reads_it_with_its_own_config(data):
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    voc, sbd = data
    convert_voc_aug(voc, sbd, subset=True)
    package = Path(importlib.util.find_spec('mmseg').origin).parent
    cfg = Config.fromfile(package / '.mim/configs/_base_/datasets/pascal_voc12_aug.py')
    dataset = cfg.train_dataloader.dataset
    for part in dataset.datasets:
        part.data_root = str(voc)
        part.pipeline = cfg.train_pipeline[:2]
    init_default_scope('mmseg')
    items = list(DATASETS.build(dataset))
    assert [Path(item['img_path']).stem for item in items] == sorted(TRAIN) + AUG
    for item in items:
        name = Path(item['img_path']).stem
        assert item['img'].shape[:2] == item['gt_seg_map'].shape
        np.testing.assert_array_equal(item['gt_seg_map'], labels_of(name, 'VOC' if name in TRAIN else 'SBD'))
        with Image.open(voc / f'SegmentationClassAug/{name}.png') as mask:
            np.testing.assert_array_equal(item['gt_seg_map'], np.asarray(mask))


@pytest.mark.parametrize('voc, sbd', [('VOCdevkit/VOC2012', 'benchmark_RELEASE'), ('VOCdevkit', '.'),
                                      ('.', 'benchmark_RELEASE/dataset')])
def test_folders_above_and_below_are_understood(data, voc, sbd, capsys):
    root = data[1].parent
    assert command(root / voc, root / sbd, '--subset') == 0
    assert capsys.readouterr().out == 'aug 5, trainaug 8 images; masks: 8 written, 0 were there\n'


def test_second_run_changes_nothing(data, capsys):
    voc, sbd = data
    assert command(voc, sbd, '--subset') == 0
    before = {path: path.stat().st_mtime_ns for path in voc.rglob('*')}
    assert command(voc, sbd, '--subset') == 0
    assert '0 written, 8 were there' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in voc.rglob('*')} == before


def test_masks_and_lists_made_by_another_tool_are_kept(data):
    """mmseg's own converter writes grey masks, and its lists in no order."""
    voc, sbd = data
    (voc / 'SegmentationClassAug').mkdir()
    mine = voc / f'SegmentationClassAug/{AUG[0]}.png'
    Image.fromarray(labels_of(AUG[0], 'SBD')).save(mine)
    listing = voc / 'ImageSets/Segmentation/aug.txt'
    listing.write_text('\n'.join(reversed(AUG)))
    before = mine.read_bytes(), listing.read_text()
    done = convert_voc_aug(voc, sbd, subset=True)
    assert (done['written'], done['kept']) == (7, 1)
    assert (mine.read_bytes(), listing.read_text()) == before


def test_mask_with_other_labels_is_named_and_left(data, capsys):
    voc, sbd = data
    (voc / 'SegmentationClassAug').mkdir()
    mine = voc / f'SegmentationClassAug/{AUG[0]}.png'
    torn = voc / f'SegmentationClassAug/{AUG[1]}.png'
    mine.write_bytes(palette_png(labels_of(AUG[0], 'SBD') // 2))
    torn.write_bytes(palette_png(labels_of(AUG[1], 'SBD'))[:60])
    before = mine.read_bytes(), torn.read_bytes()
    assert command(voc, sbd, '--subset') == 2
    error = capsys.readouterr().err
    assert error.startswith('error: 2 of 8 masks') and str(mine) in error and str(torn) in error
    assert (mine.read_bytes(), torn.read_bytes()) == before
    # No list says that the masks are there.
    assert not (voc / 'ImageSets/Segmentation/trainaug.txt').exists()
    mine.unlink()
    torn.unlink()
    assert command(voc, sbd, '--subset') == 0
    assert '2 written, 6 were there' in capsys.readouterr().out


def test_list_with_other_names_stops_before_anything_is_written(data, capsys):
    voc, sbd = data
    (voc / 'ImageSets/Segmentation/trainaug.txt').write_text('2008_000002\n')
    before = contents(voc)
    assert command(voc, sbd, '--subset') == 2
    assert 'trainaug.txt exists and names other images' in capsys.readouterr().err
    assert contents(voc) == before and not (voc / 'SegmentationClassAug').exists()


def test_numbers_must_be_the_published_ones(data, capsys, monkeypatch):
    voc, sbd = data
    before = contents(voc)
    assert command(voc, sbd) == 2
    error = capsys.readouterr().err
    for number in ('1464', '1449', '8498', '2857', '10582', '--subset'):
        assert number in error
    assert contents(voc) == before
    assert voc_aug.PUBLISHED['aug'] + voc_aug.PUBLISHED['train'] == voc_aug.PUBLISHED['trainaug']
    monkeypatch.setattr(voc_aug, 'PUBLISHED', {'train': 3, 'val': 2, 'aug': 5, 'trainaug': 8})
    monkeypatch.setattr(voc_aug, 'SBD_PUBLISHED', {'train': 4, 'val': 5})
    assert command(voc, sbd) == 0


def no_file(path):
    return lambda voc, sbd: (voc.parents[1] / path).unlink()


def write(path, content):
    return lambda voc, sbd: (voc.parents[1] / path).write_bytes(content)


def mat(**content):
    return lambda voc, sbd: savemat(sbd / f'dataset/cls/{AUG[0]}.mat', content)


def labels_mat(change):
    return lambda voc, sbd: save_mat(sbd / f'dataset/cls/{AUG[0]}.mat', change(labels_of(AUG[0], 'SBD')))


V, S = 'VOCdevkit/VOC2012', 'benchmark_RELEASE/dataset'
IN_ADVANCE = [
    (lambda voc, sbd: shutil.rmtree(voc / 'JPEGImages'), 'is not the folder of Pascal VOC 2012: it has no JPEGImages'),
    (lambda voc, sbd: shutil.rmtree(voc), 'VOCtrainval_11-May-2012.tar'),
    (lambda voc, sbd: shutil.rmtree(sbd), f'there is no folder {{root}}/{S.split("/")[0]}'),
    (lambda voc, sbd: shutil.rmtree(sbd / 'dataset/cls'), 'is not the folder of Semantic Boundaries Dataset'),
    (lambda voc, sbd: shutil.rmtree(voc / 'SegmentationClass'), '3 of 3 masks are not in'),
    (no_file(f'{V}/ImageSets/Segmentation/val.txt'), f'there is no list {{root}}/{V}/ImageSets/Segmentation/val.txt'),
    (no_file(f'{S}/val.txt'), f'there is no list {{root}}/{S}/val.txt'),
    (no_file(f'{V}/JPEGImages/{AUG[2]}.jpg'), f'1 of 8 images are not in {{root}}/{V}/JPEGImages: {AUG[2]}.jpg'),
    (no_file(f'{V}/SegmentationClass/{TRAIN[0]}.png'), f'1 of 3 masks are not in .*SegmentationClass: {TRAIN[0]}.png'),
    (no_file(f'{S}/cls/{AUG[0]}.mat'), f'1 of 5 label files are not in .*/cls: {AUG[0]}.mat'),
    (write(f'{V}/ImageSets/Segmentation/train.txt', b''), 'train.txt is empty'),
    (write(f'{S}/train.txt', b'/img/2008_000002.jpg /cls/2008_000002.mat\n'), 'train.txt, line 1: "/img/2008'),
    (write(f'{S}/train.txt', b'2008_000002\n2008_000003 -1\n'), 'train.txt, line 2: "2008_000003 -1"'),
    (write(f'{S}/train.txt', b'\xff\xfe2\x000\x00'), 'train.txt cannot be read'),
    (write(f'{V}/ImageSets/Segmentation/train.txt', b'2007_000033\n'), '2007_000033 of .*train.txt are in val.txt too'),
]
ON_THE_WAY = [
    (write(f'{S}/cls/{AUG[0]}.mat', b'not a MATLAB file, but long enough to have the header of one' * 4),
     f'{AUG[0]}.mat cannot be read'),
    (write(f'{S}/cls/{AUG[0]}.mat', b''), f'{AUG[0]}.mat cannot be read'),
    (mat(GTinst={'Segmentation': np.zeros((9, 9), np.uint8)}), f'{AUG[0]}.mat holds no GTcls.Segmentation'),
    (mat(GTcls={'Boundaries': 1}), f'{AUG[0]}.mat holds no GTcls.Segmentation'),
    (mat(GTcls=np.zeros((3, 3))), f'{AUG[0]}.mat holds no GTcls.Segmentation'),
    (mat(GTcls={'Segmentation': np.zeros((9, 9, 3), np.uint8)}), r'shape \(9, 9, 3\)'),
    (mat(GTcls={'Segmentation': np.zeros((9, 9))}), 'type float64: no label map'),
    (labels_mat(lambda labels: labels + 20), 'labels from 20 to .., not 0 to 20'),
    (labels_mat(lambda labels: labels[1:]), f'{AUG[0]}.mat is .*, its image'),
    (labels_mat(lambda labels: labels[:, :15].T), f'{AUG[0]}.mat is .*, its image'),
    (write(f'{V}/JPEGImages/{AUG[0]}.jpg', b'no image'), f'its image .*{AUG[0]}.jpg cannot be read'),
    (write(f'{V}/SegmentationClass/{TRAIN[0]}.png', b'\x89PNG'), f'SegmentationClass/{TRAIN[0]}.png is broken or no'),
    (lambda voc, sbd: Image.new('RGB', (30, 30)).save(voc / f'SegmentationClass/{TRAIN[0]}.png'), 'of mode RGB'),
]


@pytest.mark.parametrize('spoil, message', IN_ADVANCE)
def test_wrong_input_is_found_before_anything_is_written(data, spoil, message, capsys):
    voc, sbd = data
    spoil(voc, sbd)
    before = contents(voc.parents[1])
    assert command(voc, sbd, '--subset') == 2
    check_message(capsys.readouterr().err, message, voc.parents[1])
    assert contents(voc.parents[1]) == before and not (voc / 'SegmentationClassAug').exists()


@pytest.mark.parametrize('spoil, message', ON_THE_WAY)
def test_broken_files_are_named_and_the_others_converted(data, spoil, message, capsys):
    voc, sbd = data
    spoil(voc, sbd)
    before = contents(voc.parents[1])
    assert command(voc, sbd, '--subset') == 2
    check_message(capsys.readouterr().err, f'1 of 8 masks cannot be made: .*{message}', voc.parents[1])
    after = contents(voc.parents[1])
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 7
    assert not list(voc.glob('ImageSets/Segmentation/*aug.txt'))


def check_message(error, message, root):
    assert error.startswith('error: ') and 'Traceback' not in error
    assert re.search(message.replace('{root}', re.escape(str(root))), error), error


def test_missing_scipy_is_named_with_the_command(data, monkeypatch, capsys):
    voc, sbd = data
    monkeypatch.setitem(sys.modules, 'scipy.io', None)
    assert command(voc, sbd, '--subset') == 2
    assert 'pip install scipy' in capsys.readouterr().err
    assert not (voc / 'SegmentationClassAug').exists()


def test_folder_that_cannot_be_written(data, capsys):
    voc, sbd = data
    (voc / 'SegmentationClassAug').write_text('mine')
    assert command(voc, sbd, '--subset') == 2
    assert 'cannot write below' in capsys.readouterr().err
    assert (voc / 'SegmentationClassAug').read_text() == 'mine'


def test_error_while_writing_leaves_no_half_file_and_the_next_run_goes_on(data, monkeypatch, capsys):
    voc, sbd = data
    replaced = []
    replace = os.replace

    def full_disk(source, target):
        if len(replaced) == 3:
            raise OSError(28, 'No space left on device')
        replaced.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', full_disk)
        assert command(voc, sbd, '--subset') == 2
    assert 'No space left' in capsys.readouterr().err
    assert sorted((voc / 'SegmentationClassAug').iterdir()) == sorted(replaced)
    assert command(voc, sbd, '--subset') == 0
    assert '5 written, 3 were there' in capsys.readouterr().out


def test_killed_run_leaves_whole_masks_and_no_list_and_the_next_goes_on(data, capsys):
    voc, sbd = data
    names = [f'2011_{number:06d}' for number in range(500, 1500)]
    labels = labels_of(AUG[0], 'SBD')
    for name in names:
        os.link(sbd / f'dataset/cls/{AUG[0]}.mat', sbd / f'dataset/cls/{name}.mat')
        os.link(voc / f'JPEGImages/{AUG[0]}.jpg', voc / f'JPEGImages/{name}.jpg')
    with open(sbd / 'dataset/train.txt', 'a') as file:
        file.writelines(f'{name}\n' for name in names)
    process = subprocess.Popen([sys.executable, ROOT / 'tools/dataset_converters/voc_aug.py', voc, sbd, '--subset'])
    try:
        deadline = time.monotonic() + 300  # a busy machine takes long to start it
        while len(list(voc.glob('SegmentationClassAug/*.png'))) < 20:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = list(voc.glob('SegmentationClassAug/2011_000[5-9]*.png'))
    assert len(finished) < 1000 and not (voc / 'ImageSets/Segmentation/trainaug.txt').exists()
    for path in finished:
        with Image.open(path) as mask:
            np.testing.assert_array_equal(np.asarray(mask), labels)
    # What a kill in the middle of a file leaves.
    (voc / f'SegmentationClassAug/.{names[-1]}.png.part').write_bytes(b'half')
    assert command(voc, sbd, '--subset') == 0
    assert 'trainaug 1008' in capsys.readouterr().out
    assert len(os.listdir(voc / 'SegmentationClassAug')) == 1008


def test_two_runs_do_not_meet(data, capsys):
    voc, sbd = data
    (voc / 'SegmentationClassAug').mkdir()
    descriptor = os.open(voc / 'SegmentationClassAug', os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert command(voc, sbd, '--subset') == 2
    finally:
        os.close(descriptor)
    assert 'another conversion' in capsys.readouterr().err
    assert not list((voc / 'SegmentationClassAug').iterdir())
