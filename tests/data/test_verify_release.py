"""Verification of the release's further data sets: miniatures in the true layouts, whole and spoilt."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileode_mm.cli import main
from mobileode_mm.commands.verify import PUBLISHED
from mobileode_mm.data import verify
from mobileode_mm.data.verify import CHECKS

PAGE = Path(__file__).parents[2] / 'docs' / 'data.md'
WNIDS = ['n01443537', 'n02056570', 'n07873807']


def save_image(path, width=30, height=20, value=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else value).save(path, **options)


def page_command(section, root):
    """The last shell block of a section of the page that works in the data's folder, run there."""
    text = re.search(rf'^## {section}$(.*?)(?=^## |\Z)', PAGE.read_text(), re.DOTALL | re.MULTILINE)[1]
    block = re.findall('```bash\n(cd .*?)```', text, re.DOTALL)[-1]
    subprocess.run(['bash', '-euo', 'pipefail', '-c', block], env={'DATA': str(root), 'PATH': '/usr/bin:/bin'},
                   check=True)


def make_ade20k(root):
    labels = np.zeros((20, 30), np.uint8)
    labels[:9], labels[9:12] = 1, 150
    for split, kind, count in (('training', 'train', 3), ('validation', 'val', 2)):
        for number in range(1, count + 1):
            folder, name = root / 'ade/ADEChallengeData2016', f'ADE_{kind}_{number:08d}'
            save_image(folder / f'images/{split}/{name}.jpg')
            save_image(folder / f'annotations/{split}/{name}.png', value=labels)
    (folder / 'objectInfo150.txt').write_text('Idx\tRatio\n')


def make_coco_format(root, classes, suffix):
    for split, count in (('train', 3), ('val', 2)):
        images, annotations = [], []
        for number in range(1, count + 1):
            name = f'{split} ({number}){suffix}'
            save_image(root / split / name)
            images.append({'id': number, 'file_name': name, 'width': 30, 'height': 20})
            annotations.append({'id': number, 'image_id': number, 'category_id': number % len(classes) + 1,
                                'bbox': [3, 4, 10, 9], 'area': 90, 'iscrowd': 0})
        path = root / f'annotations/instances_{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({
            'images': images, 'annotations': annotations,
            'categories': [{'id': number, 'name': name} for number, name in enumerate(classes, start=1)]}))


def make_imagenet_r(root):
    for wnid in WNIDS:
        for number in range(12):
            save_image(root / f'imagenet-r/{wnid}/art_{number}.jpg')
    (root / 'imagenet-r/README.txt').write_text('ImageNet-R')
    page_command('ImageNet-R', root)


def make_tiny_imagenet(root):
    folder = root / 'tiny-imagenet-200'
    for wnid in WNIDS:
        for number in range(2):
            save_image(folder / f'train/{wnid}/images/{wnid}_{number}.JPEG', 64, 64, format='JPEG')
        (folder / f'train/{wnid}/{wnid}_boxes.txt').write_text(f'{wnid}_0.JPEG\t0\t10\t63\t58\n')
    lines = []
    for number, wnid in enumerate((WNIDS[2], WNIDS[0], WNIDS[1], WNIDS[2])):
        save_image(folder / f'val/images/val_{number}.JPEG', 64, 64, format='JPEG')
        lines.append(f'val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n')
    (folder / 'val/val_annotations.txt').write_text(''.join(lines))
    (folder / 'wnids.txt').write_text(''.join(f'{wnid}\n' for wnid in reversed(WNIDS)))  # in no order, as published
    save_image(folder / 'test/images/test_0.JPEG', 64, 64, format='JPEG')
    page_command('Tiny-ImageNet', root)


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp('release')
    make_ade20k(root)
    make_coco_format(root / 'busi', ('benign', 'malignant'), '.png')
    make_coco_format(root / 'faces', ('face', ), '.jpg')
    make_imagenet_r(root)
    make_tiny_imagenet(root)
    return root


PLACES = {'ade20k': 'ade/ADEChallengeData2016', 'busi': 'busi', 'faces': 'faces', 'imagenet-r': 'imagenet-r',
          'tiny-imagenet': 'tiny-imagenet-200'}
ROWS = {
    'ade20k': [{'split': 'training', 'images': 3, 'read': 3, 'masks read': 3},
               {'split': 'validation', 'images': 2, 'read': 2, 'masks read': 2}],
    'busi': [{'split': split, 'images': count, 'objects': count, 'crowds': 0, 'images without': 0, 'classes': 2,
              'read': count} for split, count in (('train', 3), ('val', 2))],
    'faces': [{'split': split, 'images': count, 'objects': count, 'crowds': 0, 'images without': 0, 'classes': 1,
               'read': count} for split, count in (('train', 3), ('val', 2))],
    'imagenet-r': [{'split': 'train', 'images': 30, 'classes': 3, 'read': 30},
                   {'split': 'val', 'images': 6, 'classes': 3, 'read': 6}],
    'tiny-imagenet': [{'split': 'train', 'images': 6, 'classes': 3, 'read': 6},
                      {'split': 'val', 'images': 4, 'classes': 3, 'read': 4}],
}


def test_the_command_knows_every_check():
    assert set(PUBLISHED) == {*CHECKS, 'cifar10'} >= PLACES.keys()


@pytest.mark.parametrize('kind', PLACES)
def test_whole_data_pass_and_are_counted(originals, kind, capsys):
    assert main(['verify', kind, str(originals / PLACES[kind]), '--subset']) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'no problem found' and 'note' not in out
    assert CHECKS[kind](originals / PLACES[kind], subset=True).rows == ROWS[kind]


def test_the_page_s_lists_are_those_that_training_reads(originals):
    lines = (originals / 'imagenet-r/meta/val.txt').read_text().splitlines()
    assert lines == [f'{wnid}/art_{name}.jpg {label}' for label, wnid in enumerate(WNIDS) for name in (0, 8)]
    assert (originals / 'tiny-imagenet-200/meta/val.txt').read_text().split() == [
        'val_0.JPEG', '2', 'val_1.JPEG', '0', 'val_2.JPEG', '1', 'val_3.JPEG', '2']


@pytest.mark.parametrize('name, root, counts', [
    ('classify_mobileode_imagenet_r', 'imagenet-r', (30, 6)),
    ('classify_mobileode_tiny_imagenet', 'tiny-imagenet-200', (6, 4)),
    ('ssdlite_mobileode_busi', 'busi', (3, 2)), ('ssdlite_mobileode_faces', 'faces', (3, 2)),
    ('deeplabv3_mobileode_ade20k', 'ade/ADEChallengeData2016', (3, 2))])
def test_the_configs_read_these_layouts(originals, name, root, counts, monkeypatch):
    from mmengine.registry import DATASETS

    from mobileode_mm.runs.checks import config_scope
    from mobileode_mm.runs.config import load_config
    monkeypatch.setenv('MOBILEODE_DATA', str(originals))
    cfg = load_config(Path(__file__).parents[2] / f'configs/{name}.py')
    with config_scope(cfg):
        for split, count in zip(('train', 'val'), counts):
            dataset = cfg[f'{split}_dataloader'].dataset
            assert dataset.data_root.startswith(f'{originals}/{root}')
            if split == 'train' and 'filter_cfg' in dataset:
                dataset.filter_cfg.min_size = 16
            built = DATASETS.build(dataset)
            assert len(built) == count and built[0]['inputs'].shape[0] == 3
    if name.startswith('classify'):
        assert {built.get_data_info(index)['gt_label'] for index in range(len(built))} == {0, 1, 2}


@pytest.mark.parametrize('kind, numbers', [
    ('ade20k', ('20,210', '2,000')), ('imagenet-r', ('30,000', '200')),
    ('tiny-imagenet', ('100,000', '10,000', '200'))])
def test_published_numbers_are_asked_for(originals, kind, numbers, capsys):
    assert main(['verify', kind, str(originals / PLACES[kind])]) == 2
    out = capsys.readouterr().out
    assert all(f'the published set {number}\n' in out for number in numbers) and '--subset' in out


@pytest.mark.parametrize('kind', ['busi', 'faces'])
def test_classes_are_asked_for(originals, kind, tmp_path, capsys):
    assert main(['verify', kind, str(originals / kind)]) == 0
    shutil.copytree(originals / kind, tmp_path / kind)
    for split in ('train', 'val'):
        path = tmp_path / kind / f'annotations/instances_{split}.json'
        document = json.loads(path.read_text())
        document['categories'][0]['name'] = 'cyst'
        path.write_text(json.dumps(document))
    assert main(['verify', kind, str(tmp_path / kind)]) == 2
    assert re.search(r"train: the classes are not \w+'s \d:.*more: 1 cyst.*what to do: convert",
                     capsys.readouterr().out, re.DOTALL)
    assert main(['verify', kind, str(tmp_path / kind), '--subset']) == 0


CASES = []


def case(kind, *says):
    def add(spoil):
        CASES.append(pytest.param(kind, spoil, says, id=f'{kind}-{spoil.__name__}'))
        return spoil
    return add


@case('ade20k', 'validation: 1 of 2 masks do not exist.*ADE_val_00000001.png', 'ADEChallengeData2016.zip')
def mask_missing(root):
    (root / 'annotations/validation/ADE_val_00000001.png').unlink()


@case('ade20k', 'training: 1 masks have no image.*ADE_train_00000002')
def image_missing(root):
    (root / 'images/training/ADE_train_00000002.jpg').unlink()


@case('ade20k', 'there is no .*images/validation')
def split_missing(root):
    shutil.rmtree(root / 'images/validation')


@case('ade20k', '3 of 3 masks that were read cannot be used', '00000001.png .holds label 151, beyond the 150 classes',
      '00000002.png .is 29x20, its image 30x20', '00000003.png .is no label map')
def masks_wrong(root):
    folder = root / 'annotations/training'
    save_image(folder / 'ADE_train_00000001.png', value=np.full((20, 30), 151, np.uint8))
    save_image(folder / 'ADE_train_00000002.png', value=np.zeros((20, 29), np.uint8))
    save_image(folder / 'ADE_train_00000003.png')


@case('busi', 'there is no .*instances_val.json', 'docs/data.md')
def file_missing(root):
    (root / 'annotations/instances_val.json').unlink()


@case('faces', 'train: 1 of 3 images are empty files.*train .1..jpg', 'convert the set again')
def image_empty(root):
    (root / 'train/train (1).jpg').write_bytes(b'')


@case('busi', '1 annotations have a image_id that the file does not list', 'convert the set again.*or remove them')
def image_id_lost(root):
    path = root / 'annotations/instances_train.json'
    document = json.loads(path.read_text())
    document['annotations'][0]['image_id'] = 77
    path.write_text(json.dumps(document))


@case('imagenet-r', '1 images are in train.txt and in val.txt', 'make the lists again')
def val_in_train(root):
    with open(root / 'meta/train.txt', 'a') as file:
        file.write(f'{WNIDS[0]}/art_0.jpg 0\n')


@case('imagenet-r', 'train: 1 images have another label than their folder.*n01443537/art_1.jpg')
def label_of_another_class(root):
    path = root / 'meta/train.txt'
    path.write_text(path.read_text().replace(f'{WNIDS[0]}/art_1.jpg 0', f'{WNIDS[0]}/art_1.jpg 1'))


@case('imagenet-r', 'meta/val.txt cannot be read', 'each line is a path')
def list_missing(root):
    (root / 'meta/val.txt').unlink()


@case('imagenet-r', 'val: 1 of 6 images do not exist.*art_0.jpg', 'imagenet-r.tar')
def listed_image_missing(root):
    (root / WNIDS[1] / 'art_0.jpg').unlink()


@case('tiny-imagenet', 'train: 1 class folders hold no image.*n02056570')
def class_empty(root):
    shutil.rmtree(root / 'train/n02056570/images')


@case('tiny-imagenet', 'labels are not 0 to 5', 'label 4 is missing')
def label_missing(root):
    path = root / 'meta/val.txt'
    path.write_text(path.read_text().replace('JPEG 0', 'JPEG 5'))


@case('tiny-imagenet', 'val: 1 of 4 images that were read cannot be used.*val_0.JPEG')
def image_broken(root):
    (root / 'val/images/val_0.JPEG').write_bytes(b'<html>Not found</html>')


@pytest.mark.parametrize('kind, spoil, says', CASES)
def test_faults_are_named(originals, kind, spoil, says, tmp_path, capsys):
    root = tmp_path / PLACES[kind]
    shutil.copytree(originals / PLACES[kind], root)
    spoil(root)
    assert main(['verify', kind, str(root), '--subset']) == 2
    out = capsys.readouterr().out
    for words in says:
        assert re.search(words, out, re.DOTALL), out


@pytest.mark.parametrize('kind', PLACES)
def test_another_folder_is_refused_with_the_source(kind, tmp_path, capsys):
    assert main(['verify', kind, str(tmp_path)]) == 2
    assert re.search(f'{tmp_path} is not the folder of .*To get .*: http', capsys.readouterr().err)
    assert verify.CHECKS[kind].__doc__
