"""Verification of miniatures in the true layouts, whole and spoilt."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mobileode_mm.cli import main
from mobileode_mm.data import verify
from mobileode_mm.data.label_maps import palette_png, read_label_map, voc_palette
from mobileode_mm.data.verify import verify_cifar10, verify_coco, verify_imagenet, verify_voc
from mobileode_mm.data.verify.files import Reading
from mobileode_mm.errors import InputError

ROOT = Path(__file__).parents[2]
TRAIN, VAL, AUG = ['2007_000032', '2008_000008', '2009_000012'], ['2007_000033', '2008_000009'], ['2010_000021']
WNIDS = ['n01440764', 'n01443537', 'n02105855']


def save_image(path, width=30, height=20, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def coco_classes():
    """The classes as mmdet lists them, with ids that leave gaps as COCO's do."""
    from mmdet.datasets import CocoDataset
    unused = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = [number for number in range(1, 91) if number not in unused]
    return [{'id': number, 'name': name, 'supercategory': 'any'}
            for number, name in zip(ids, CocoDataset.METAINFO['classes'], strict=True)]


def make_coco(root):
    for split, first, count in (('train2017', 9, 4), ('val2017', 139, 2)):
        images, annotations = [], []
        for number in range(first, first + count):
            save_image(root / f'coco/{split}/{number:012d}.jpg', 30 + number, 40)
            images.append({'id': number, 'file_name': f'{number:012d}.jpg', 'width': 30 + number, 'height': 40})
            for category in (1, 90):
                # The last reaches over the right edge by what rounding does.
                annotations.append({'id': 10 * number + category, 'image_id': number, 'category_id': category,
                                    'bbox': [20.5, 3.0, 9.8 + number, 20.0], 'area': 150.5, 'iscrowd': 0,
                                    'segmentation': [[1, 1, 9, 1, 9, 9]]})
        annotations[-1]['iscrowd'] = 1
        images.append({'id': 500 + first, 'file_name': 'empty.jpg', 'width': 30, 'height': 20})
        save_image(root / f'coco/{split}/empty.jpg')
        path = root / f'coco/annotations/instances_{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({'info': {}, 'licenses': [], 'images': images, 'annotations': annotations,
                                    'categories': coco_classes()}))


def make_voc(root):
    folder = root / 'VOCdevkit/VOC2012'
    for name in (*TRAIN, *VAL, *AUG):
        save_image(folder / f'JPEGImages/{name}.jpg')
    labels = np.zeros((20, 30), np.uint8)
    labels[5:9, 5:9], labels[12:, 8:], labels[11] = 1, 20, 255
    for place, names in (('SegmentationClass', TRAIN + VAL), ('SegmentationClassAug', TRAIN + AUG)):
        (folder / place).mkdir()
        for name in names:
            (folder / place / f'{name}.png').write_bytes(palette_png(labels))
    (folder / 'ImageSets/Segmentation').mkdir(parents=True)
    for split, names in (('train', TRAIN), ('val', VAL), ('aug', AUG), ('trainaug', TRAIN + AUG)):
        (folder / f'ImageSets/Segmentation/{split}.txt').write_text(''.join(f'{name}\n' for name in names))


def make_imagenet(root):
    for split, count in (('train', 3), ('val', 1)):
        for wnid in WNIDS:
            for number in range(count):
                save_image(root / f'imagenet/{split}/{wnid}/{wnid}_{number}.JPEG', format='JPEG')


def make_cifar10(root):
    folder = root / 'cifar10/cifar-10-batches-py'
    folder.mkdir(parents=True)
    for name in (*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch', 'batches.meta'):
        (folder / name).write_bytes(pickle.dumps({'labels': [0], 'name': name}))


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp('original')
    for make in (make_coco, make_voc, make_imagenet, make_cifar10):
        make(root)
    return root


@pytest.fixture
def data(originals, tmp_path):
    """A folder with all of them, to be spoilt."""
    shutil.copytree(originals, tmp_path / 'data')
    return tmp_path / 'data'


PLACES = {'coco': 'coco', 'voc': 'VOCdevkit/VOC2012', 'imagenet': 'imagenet'}
VERIFY = {'coco': verify_coco, 'voc': verify_voc, 'imagenet': verify_imagenet}


@pytest.mark.parametrize('kind', PLACES)
def test_whole_data_pass_and_are_counted(originals, kind, capsys):
    assert main(['verify', kind, str(originals / PLACES[kind]), '--subset']) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'no problem found'
    assert 'note' not in out
    report = VERIFY[kind](originals / PLACES[kind], subset=True)
    rows = {row['split']: row for row in report.rows}
    assert rows == {
        'coco': {
            'train2017': {'split': 'train2017', 'images': 5, 'objects': 7, 'crowds': 1, 'images without': 1,
                          'classes': 80, 'read': 5},
            'val2017': {'split': 'val2017', 'images': 3, 'objects': 3, 'crowds': 1, 'images without': 1,
                        'classes': 80, 'read': 3}},
        'voc': {split: {'split': split, 'images': count, 'read': count, 'masks in': folder, 'masks read': count}
                for split, count, folder in (('train', 3, 'SegmentationClass'), ('val', 2, 'SegmentationClass'),
                                             ('aug', 1, 'SegmentationClassAug'),
                                             ('trainaug', 4, 'SegmentationClassAug'))},
        'imagenet': {split: {'split': split, 'images': 3 * count, 'classes': 3, 'fewest in a class': count,
                             'most': count, 'read': 3 * count} for split, count in (('train', 3), ('val', 1))},
    }[kind]


def test_coco_counts_agree_with_pycocotools(originals):
    for row in verify_coco(originals / 'coco', subset=True).rows:
        index = COCO(originals / f'coco/annotations/instances_{row["split"]}.json')
        assert row['images'] == len(index.getImgIds())
        assert row['objects'] == len(index.getAnnIds(iscrowd=False))
        assert row['crowds'] == len(index.getAnnIds(iscrowd=True))
        assert row['classes'] == len(index.getCatIds())


def test_published_numbers_and_classes_are_asked_for(originals, monkeypatch, capsys):
    for kind, numbers in (('coco', ('118,287', '5,000', '860,001', '36,781')),
                          ('voc', ('1,464', '1,449', '9,118', '10,582')),
                          ('imagenet', ('1,281,167', '50,000', '1,000'))):
        assert main(['verify', kind, str(originals / PLACES[kind])]) == 2
        out = capsys.readouterr().out
        for number in numbers:
            assert f'the published set {number}\n' in out
        assert '--subset' in out
    # COCO's eighty classes are those of mmdet: nothing but numbers was wrong.
    monkeypatch.setattr(verify.coco, 'PUBLISHED', {'train2017': (5, 8), 'val2017': (3, 4)})
    monkeypatch.setattr(verify.voc, 'PUBLISHED', {'train': 3, 'val': 2, 'aug': 1, 'trainaug': 4})
    monkeypatch.setattr(verify.imagenet, 'PUBLISHED', {'train': 9, 'val': 3})
    monkeypatch.setattr(verify.imagenet, 'CLASSES', 3)
    for kind, place in PLACES.items():
        assert main(['verify', kind, str(originals / place)]) == 0


def test_mini_data_pass_as_data_of_ones_own(tmp_path):
    from mobileode_mm.data import make_mini_data
    make_mini_data(tmp_path / 'mini', detection=(2, 1), segmentation=(2, 1), classification=(10, 10))
    assert main(['verify', 'coco', str(tmp_path / 'mini/coco'), '--subset']) == 0
    assert main(['verify', 'voc', str(tmp_path / 'mini'), '--subset']) == 0
    assert main(['verify', 'imagenet', str(tmp_path / 'mini/classification'), '--subset']) == 0


# Each case: data set, what is done to its folder, and what the report must say of it (a regular expression).
CASES = []


def case(kind, *says):
    def add(spoil):
        CASES.append(pytest.param(kind, spoil, says, id=f'{kind}-{spoil.__name__}'))
        return spoil
    return add


def annotations(root, split='train2017'):
    return root / f'annotations/instances_{split}.json'


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@case('coco', 'train2017: 1 of 5 images do not exist.*000000000010.jpg', 'zips/train2017.zip')
def image_missing(root):
    (root / 'train2017/000000000010.jpg').unlink()


@case('coco', 'train2017: 5 of 5 images do not exist', 'val2017: 3 of 3 images do not exist')
def images_missing(root):
    shutil.rmtree(root / 'train2017')
    shutil.rmtree(root / 'val2017')


@case('coco', 'val2017: 1 of 3 images are empty files.*000000000139.jpg', '1 problem$')
def image_empty(root):
    (root / 'val2017/000000000139.jpg').write_bytes(b'')


@case('coco', 'train2017: 2 of 5 images that were read cannot be used', '000000000009.jpg .cannot be read: .*trunc',
      '000000000010.jpg .is broken or no image')
def files_broken(root):
    whole = (root / 'train2017/000000000009.jpg').read_bytes()
    (root / 'train2017/000000000009.jpg').write_bytes(whole[:len(whole) // 2])
    (root / 'train2017/000000000010.jpg').write_bytes(b'<html>Not found</html>')


@case('coco', '000000000009.jpg .is 12x13, the annotation file says 39x40')
def image_of_other_size(root):
    save_image(root / 'train2017/000000000009.jpg', 12, 13)


@case('coco', 'there is no .*instances_val2017.json', 'annotations_trainval2017.zip again')
def file_missing(root):
    annotations(root, 'val2017').unlink()


@case('coco', 'instances_train2017.json is broken JSON at line 1, column')
def file_broken(root):
    text = annotations(root).read_text()
    annotations(root).write_text(text[:len(text) // 2])


@case('coco', 'instances_train2017.json cannot be read as JSON')
def file_no_text(root):
    annotations(root).write_bytes(b'{"images": "\xff\xe9"}')


@case('coco', 'instances_train2017.json is no annotation file of COCO: it has no list categories')
def no_categories(root):
    edit(annotations(root), lambda document: document.pop('categories'))


@case('coco', 'is no annotation file of COCO: it has no list images')
def a_list(root):
    annotations(root).write_text('[1, 2]')


@case('coco', 'instances_train2017.json: its list "annotations" is empty')
def no_annotations(root):
    edit(annotations(root), lambda document: document['annotations'].clear())


@case('coco', '3 of 8 entries of "annotations" cannot be used', r'annotations\[0\] lacks "bbox"',
      r'annotations\[1\] has "bbox" \[1, 2, 3\]', r'annotations\[2\] is no object')
def entries_broken(root):
    def change(document):
        del document['annotations'][0]['bbox']
        document['annotations'][1]['bbox'] = [1, 2, 3]
        document['annotations'][2] = 7
    edit(annotations(root), change)


@case('coco', '4 of 5 entries of "images"', r'images\[0\] lacks "height"', r"images\[1\] has \"width\" '39'",
      r'images\[2\] has "height" 0', r'images\[3\] has "height" 40.5')
def images_broken(root):
    def change(document):
        document['images'][3]['height'] = 40.5
        del document['images'][0]['height']
        document['images'][1]['width'] = '39'
        document['images'][2]['height'] = 0
    edit(annotations(root), change)


@case('coco', '1 of 8 entries of "annotations" cannot be used', 'annotations.3. has an id that is neither')
def id_is_a_list(root):
    edit(annotations(root), lambda document: document['annotations'][3].update(image_id=[9]))


@case('coco', '1 of 8 entries of "annotations"', 'NaN|nan')
def box_not_a_number(root):
    edit(annotations(root), lambda document: document['annotations'][0].update(bbox=[1, float('nan'), 3, 4]))


@case('coco', '2 of 8 boxes have no size; training drops them',
      r'annotation 91 in 000000000009.jpg: box \[5, 5, 0, 4\]', r'box \[5, 5, 4, 0.5\]')
def boxes_of_no_size(root):
    def change(document):
        document['annotations'][0]['bbox'] = [5, 5, 0, 4]
        document['annotations'][1]['bbox'] = [5, 5, 4, 0.5]
    edit(annotations(root), change)


@case('coco', '1 of 8 boxes lie outside their image', r'box \[100, 5, 4, 4\], area 150.5, image 39x40',
      "1 of 8 boxes cross their image's edge; training cuts them", r'box \[30, 5, 30, 4\]')
def boxes_outside(root):
    def change(document):
        document['annotations'][0]['bbox'] = [100, 5, 4, 4]
        document['annotations'][1]['bbox'] = [30, 5, 30, 4]
    edit(annotations(root), change)


@case('coco', '1 annotations have a image_id that the file does not list.*annotation 91: image_id 7777',
      '1 annotations have a category_id that the file does not list.*category_id 12')
def references_lost(root):
    def change(document):
        document['annotations'][0]['image_id'] = 7777
        document['annotations'][1]['category_id'] = 12
    edit(annotations(root), change)


@case('coco', '1 ids of "annotations" occur more than once.*annotations id 91',
      '1 ids of "images" occur more than once', '1 ids of "categories" occur more than once')
def ids_twice(root):
    def change(document):
        for key in ('annotations', 'images', 'categories'):
            document[key].append(document[key][0])
    edit(annotations(root), change)


@case('coco', '1 file names occur under more than one id.*000000000009.jpg', '1 class names occur.*person')
def names_twice(root):
    def change(document):
        document['images'].append({**document['images'][0], 'id': 7000})
        document['categories'].append({**document['categories'][0], 'id': 95})
    edit(annotations(root), change)


@case('coco', 'train2017 and val2017 list different classes', 'lacking: 1 person', 'more: 1 Person')
def classes_differ(root):
    edit(annotations(root), lambda document: document['categories'][0].update(name='Person'))


@case('coco', 'train2017 and val2017 list different classes, or in another order', 'the same classes in another order')
def classes_in_another_order(root):
    edit(annotations(root), lambda document: document['categories'].reverse())


@case('voc', 'train: 1 of 3 images do not exist.*2007_000032.jpg', 'VOCtrainval_11-May-2012.tar')
def voc_image_missing(root):
    (root / 'JPEGImages/2007_000032.jpg').unlink()


@case('voc', 'train: 1 of 3 masks in SegmentationClass do not exist.*SegmentationClass/2007_000032.png',
      'aug: 1 of 1 masks in SegmentationClassAug do not exist.*2010_000021.png', 'voc_aug.py')
def masks_missing(root):
    (root / 'SegmentationClass/2007_000032.png').unlink()
    (root / 'SegmentationClassAug/2010_000021.png').unlink()


@case('voc', 'trainaug: 3 of 3 masks in SegmentationClassAug do not exist', '1 problem$')
def masks_of_train_missing_beside_those_of_sbd(root):
    for name in TRAIN:
        (root / f'SegmentationClassAug/{name}.png').unlink()


@case('voc', 'val: 1 of 2 masks in SegmentationClass that were read cannot be used.*2007_000033.png .is 29x20, its '
             'image 30x20')
def mask_of_other_size(root):
    (root / 'SegmentationClass/2007_000033.png').write_bytes(palette_png(np.zeros((20, 29), np.uint8)))


@case('voc', '2007_000033.png .holds label 21, neither a class .0 to 20. nor void .255.')
def label_illegal(root):
    (root / 'SegmentationClass/2007_000033.png').write_bytes(palette_png(np.full((20, 30), 21, np.uint8)))


@case('voc', "2007_000033.png .shows label 1 in another colour than VOC's palette")
def palette_other(root):
    image = Image.open(root / 'SegmentationClass/2007_000033.png')
    palette = bytearray(voc_palette())
    palette[3:6] = 192, 128, 128  # the colour of class 15: the pixels mean a person
    image.putpalette(bytes(palette))
    image.save(root / 'SegmentationClass/2007_000033.png')


@case('voc', '2007_000033.png .is no label map but an image of mode RGB')
def mask_in_colours(root):
    path = root / 'SegmentationClass/2007_000033.png'
    Image.open(path).convert('RGB').save(path)


@case('voc', 'train: 1 of 2 masks in SegmentationClass that were read cannot be used.*2008_000008.png .cannot be read',
      'train: 1 of 3 masks in SegmentationClass are empty files.*2009_000012.png')
def masks_broken(root):
    path = root / 'SegmentationClass/2008_000008.png'
    path.write_bytes(path.read_bytes()[:60])
    (root / 'SegmentationClass/2009_000012.png').write_bytes(b'')


@case('voc', 'there is no list .*val.txt', '1 problem$')
def list_missing(root):
    (root / 'ImageSets/Segmentation/val.txt').unlink()


@case('voc', 'aug.txt is empty', 'voc_aug.py')
def list_empty(root):
    (root / 'ImageSets/Segmentation/aug.txt').write_text('')


@case('voc', 'val.txt, line 1: "/JPEGImages/2007_000033.jpg /Seg')
def list_of_paths(root):
    (root / 'ImageSets/Segmentation/val.txt').write_text(
        '/JPEGImages/2007_000033.jpg /SegmentationClass/2007_000033.png\n')


@case('voc', 'train.txt names 1 images more than once.*2007_000032')
def name_twice(root):
    with open(root / 'ImageSets/Segmentation/train.txt', 'a') as file:
        file.write('2007_000032\n')


@case('voc', '1 images of trainaug.txt are in val.txt too.*2007_000033', 'trainaug.txt is not train.txt and aug.txt')
def val_in_trainaug(root):
    with open(root / 'ImageSets/Segmentation/trainaug.txt', 'a') as file:
        file.write('2007_000033\n')
    shutil.copy(root / 'SegmentationClass/2007_000033.png', root / 'SegmentationClassAug')


@case('imagenet', 'there is no .*/val')
def split_missing(root):
    shutil.rmtree(root / 'val')


@case('imagenet', 'val: 2 files lie in .*/val itself.*ILSVRC2012_val_00000001.JPEG',
      'move each into the folder of its class', 'train and val have different class folders.*n01440764: in train only')
def val_flat(root):
    shutil.rmtree(root / 'val')
    for number in (1, 2):
        save_image(root / f'val/ILSVRC2012_val_0000000{number}.JPEG', format='JPEG')


@case('imagenet', 'train: 1 files lie in', 'unpack each archive into a folder of its name')
def archives_inside(root):
    (root / 'train/n01440764.tar').write_bytes(b'x')


@case('imagenet', 'val: 1 class folders hold no image.*val/n01443537')
def folder_empty(root):
    for path in (root / 'val/n01443537').iterdir():
        path.unlink()


@case('imagenet', 'train: 1 class folders hold no image.*train/.ipynb_checkpoints',
      'different class folders.*.ipynb_checkpoints: in train only')
def folder_hidden(root):
    """mmpretrain takes it for a class."""
    (root / 'train/.ipynb_checkpoints').mkdir()


@case('imagenet', 'train and val have different class folders.*n02105855: in train only')
def folder_missing(root):
    shutil.rmtree(root / 'val/n02105855')


@case('imagenet', 'train: 2 of 8 images that were read cannot be used', 'n01440764_0.JPEG .cannot be read',
      'n01440764_1.JPEG .is broken or no image',
      'train: 1 of 9 images are empty files.*n01440764_2.JPEG')
def imagenet_images_broken(root):
    folder = root / 'train/n01440764'
    whole = (folder / 'n01440764_0.JPEG').read_bytes()
    (folder / 'n01440764_0.JPEG').write_bytes(whole[:-200])
    (folder / 'n01440764_1.JPEG').write_bytes(b'no image')
    (folder / 'n01440764_2.JPEG').write_bytes(b'')


@case('imagenet', '1 lines of .*val.txt have another form.*line 2: n01440764_0.JPEG',
      'names 1 images more than once', 'labels are not 0 to 4.*label 1 is missing.*label 3 is missing',
      'val: 1 of 3 images do not exist.*absent.JPEG')
def list_broken(root):
    (root / 'meta').mkdir()
    (root / 'meta/val.txt').write_text('n01440764/n01440764_0.JPEG 0\nn01440764_0.JPEG\nabsent.JPEG 2\n'
                                       'n01440764/n01440764_0.JPEG 0\nn02105855/n02105855_0.JPEG 4\n')


def test_a_word_for_every_case():
    assert len(CASES) == len({case.id for case in CASES})


@pytest.mark.parametrize('kind, spoil, says', CASES)
def test_what_is_wrong_is_said(data, kind, spoil, says, capsys):
    root = data / PLACES[kind]
    spoil(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert main(['verify', kind, str(root), '--subset']) == 2
    captured = capsys.readouterr()
    assert captured.err == ''
    for words in says:
        assert re.search(words, captured.out, re.DOTALL), captured.out
    # Every problem comes with what to do.
    assert captured.out.count('\nproblem ') == captured.out.count('\n  what to do: ') > 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


@pytest.mark.parametrize('kind, place, word', [
    ('coco', 'absent', 'there is no folder'), ('coco', 'imagenet', 'it has no annotations, but train, val'),
    ('voc', 'coco', 'it has no JPEGImages and no ImageSets/Segmentation, but annotations'),
    ('imagenet', 'coco', 'it has no train, but annotations'), ('cifar10', 'coco', 'it has no cifar-10-batches-py'),
    ('voc', 'imagenet/train/n01440764/n01440764_0.JPEG', 'there is no folder')])
def test_wrong_folder_says_what_is_there_and_where_to_get_it(originals, kind, place, word, capsys):
    assert main(['verify', kind, str(originals / place)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith('error: ') and word in captured.err and 'http' in captured.err
    assert captured.out == ''


def test_wrong_usage():
    with pytest.raises(SystemExit) as stop:
        main(['verify', 'cityscapes', 'data'])
    assert stop.value.code == 2


def test_folder_of_the_whole_is_understood(originals):
    assert verify_coco(originals, subset=True).rows == verify_coco(originals / 'coco', subset=True).rows
    assert verify_voc(originals, subset=True).rows == verify_voc(originals / 'VOCdevkit/VOC2012', subset=True).rows
    assert verify_voc(originals / 'VOCdevkit', subset=True).rows


def test_few_boxes_that_training_drops_are_a_note(data):
    """COCO 2017 itself has such boxes: cocodataset/cocoapi issue 355."""
    def change(document):
        first = document['annotations'][0]
        document['annotations'] += [{**first, 'id': 10_000 + number} for number in range(1000)]
        first.update(bbox=[5, 5, 1.03, 0.0], area=0.0)
    edit(annotations(data / 'coco'), change)
    report = verify_coco(data / 'coco', subset=True)
    assert not report.problems
    assert len(report.notes) == 1 and '1 of 1008 boxes have no size' in report.notes[0].what
    edit(annotations(data / 'coco'), lambda document: document['annotations'][1].update(bbox=[5, 5, 0, 9]))
    assert len(verify_coco(data / 'coco', subset=True).problems) == 1


def test_what_is_called_sizeless_or_outside_is_what_mmdet_drops(data):
    from mmdet.datasets import CocoDataset
    boxes = [[5, 5, 0, 4], [5, 5, 4, 0.5], [100, 5, 4, 4], [-9, 5, 9, 4], [-9, 5, 10, 4], [30, 5, 30, 4], [5, 39, 4, 4]]

    def change(document):
        for annotation, box in zip(document['annotations'], boxes):
            annotation.update(bbox=box, image_id=9)
        document['annotations'][7]['area'] = 0
    edit(annotations(data / 'coco'), change)
    dataset = CocoDataset(data_root=str(data / 'coco'), ann_file='annotations/instances_train2017.json', pipeline=[],
                          data_prefix={'img': 'train2017/'}, test_mode=True)
    kept = sum(len(dataset.get_data_info(number)['instances']) for number in range(len(dataset)))
    problems = verify_coco(data / 'coco', subset=True).problems
    dropped = [name for problem in problems if 'drops' in problem.what for name in problem.names]
    assert kept == 8 - len(dropped) == 3


def test_grey_masks_and_masks_of_background_only(data):
    """mmseg's converter writes grey masks; training can use both, but the second is worth a look."""
    folder = data / 'VOCdevkit/VOC2012/SegmentationClassAug'
    Image.fromarray(read_label_map(folder / f'{AUG[0]}.png')).save(folder / f'{AUG[0]}.png')
    (folder / f'{TRAIN[0]}.png').write_bytes(palette_png(np.zeros((20, 30), np.uint8)))
    report = verify_voc(data, subset=True)
    assert not report.problems
    assert [(note.what, note.names) for note in report.notes] == [
        ('trainaug: 1 masks show background only', (str(folder / f'{TRAIN[0]}.png'),))]


def test_voc_without_sbd(data):
    root = data / 'VOCdevkit/VOC2012'
    shutil.rmtree(root / 'SegmentationClassAug')
    for split in ('aug', 'trainaug'):
        (root / f'ImageSets/Segmentation/{split}.txt').unlink()
    report = verify_voc(root, subset=True)
    assert not report.problems and [row['split'] for row in report.rows] == ['train', 'val']


def test_imagenet_with_lists_as_mmpretrain_reads_it(data):
    from mmpretrain.datasets import ImageNet
    root = data / 'imagenet'
    names = sorted(path.relative_to(root / 'val') for path in root.glob('val/*/*'))
    for name in names:
        shutil.move(root / 'val' / name, root / 'val' / name.name)
        (root / 'val' / name.parent).rmdir()
    (root / 'meta').mkdir()
    (root / 'meta/val.txt').write_text(''.join(f'{name.name} {label}\n' for label, name in enumerate(names)))
    report = verify_imagenet(root, subset=True)
    assert not report.problems
    for row in report.rows:
        dataset = ImageNet(data_root=str(root), split=row['split'], pipeline=[], metainfo={'classes': WNIDS})
        assert len(dataset) == row['images']
        assert len(set(dataset.get_gt_labels().tolist())) == row['classes'] == 3


def test_hidden_and_other_files_count_as_mmpretrain_counts_them(data):
    from mmpretrain.datasets import ImageNet
    root = data / 'imagenet'
    (root / 'train/.DS_Store').write_bytes(b'x')
    (root / f'train/{WNIDS[0]}/notes.txt').write_text('mine')
    save_image(root / f'train/{WNIDS[0]}/deeper/one.png')
    report = verify_imagenet(root, subset=True)
    assert not report.problems
    assert [note.names for note in report.notes] == [(str(root / f'train/{WNIDS[0]}/notes.txt'),)]
    dataset = ImageNet(data_root=str(root), split='train', pipeline=[], metainfo={'classes': WNIDS})
    assert report.rows[0]['images'] == len(dataset) == 10


def test_class_folders_of_ones_own(data):
    root = data / 'imagenet'
    (root / 'val').rename(root / 'valid')
    report = verify_imagenet(root, subset=True)
    assert not report.problems and [row['images'] for row in report.rows] == [9, 3]
    for split in ('train', 'valid'):
        save_image(root / split / '.ipynb_checkpoints/copy.png')
    image = next(root.glob(f'train/{WNIDS[0]}/*'))
    image.write_bytes(b'')
    problems = verify_imagenet(root, subset=True).problems
    assert [problem.what for problem in problems] == [
        'train: 1 folders are hidden', 'train: 1 of 10 images are empty files', 'val: 1 folders are hidden']
    assert problems[1].remedy == 'copy it here again', 'it is not for ImageNet to have it'


def test_foreign_folder_shifts_imagenets_labels(data, monkeypatch):
    monkeypatch.setattr(verify.imagenet, 'PUBLISHED', {'train': 9, 'val': 3})
    monkeypatch.setattr(verify.imagenet, 'CLASSES', 3)
    for split in ('train', 'val'):
        (data / f'imagenet/{split}/__MACOSX').mkdir()
    said = [problem.what for problem in verify_imagenet(data / 'imagenet').problems]
    assert 'train has 4 class folders, the published set 3' in said
    assert 'train: 1 folders have no name of an ImageNet class, as in n01440764' in said


def test_images_turned_by_their_camera(data):
    """Training turns them as EXIF says: the annotation file must give the size after that."""
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(data / 'coco/train2017/000000000009.jpg', 40, 39, exif=exif)
    assert not verify_coco(data / 'coco', subset=True).problems
    save_image(data / 'coco/train2017/000000000009.jpg', 39, 40, exif=exif)
    assert 'is 40x39' in verify_coco(data / 'coco', subset=True).problems[0].names[0]


def test_unusual_images_that_training_reads(data):
    folder = data / 'imagenet/train' / WNIDS[0]
    Image.new('CMYK', (9, 9)).save(folder / f'{WNIDS[0]}_0.JPEG')
    save_image(folder / f'{WNIDS[0]}_1.JPEG', format='PNG')
    Image.new('L', (9, 9)).save(folder / f'{WNIDS[0]}_2.JPEG', format='BMP')
    assert not verify_imagenet(data / 'imagenet', subset=True).problems


def test_format_that_training_cannot_decode(data):
    path = data / 'imagenet/train' / WNIDS[0] / f'{WNIDS[0]}_0.JPEG'
    Image.new('RGB', (9, 9)).save(path, format='PCX')
    problem = verify_imagenet(data / 'imagenet', subset=True).problems[0]
    assert problem.names == (f'{path} (is broken or no image)',)


def test_sample_and_progress(originals, capsys):
    calls = []

    def progress(what):
        return lambda done, total: calls.append((what, done, total))

    verify_imagenet(originals / 'imagenet', subset=True, reading=Reading(progress=progress))
    assert calls == [('train: images', 9, 9), ('val: images', 3, 3)]
    report = verify_imagenet(originals / 'imagenet', subset=True, reading=Reading(seconds=-1))
    assert [row['read'] for row in report.rows] == [0, 0]
    assert main(['verify', 'imagenet', str(originals / 'imagenet'), '--subset', '--quick']) == 0
    assert '9' in capsys.readouterr().out


def test_names_are_cut_after_ten_unless_all_are_asked_for(data, capsys):
    folder = data / 'imagenet/train' / WNIDS[0]
    for number in range(14):
        (folder / f'broken_{number:02d}.jpg').write_bytes(b'x')
    arguments = ['imagenet', str(data / 'imagenet'), '--subset']
    assert main(['verify', *arguments]) == 2
    out = capsys.readouterr().out
    assert 'broken_09.jpg' in out and 'broken_10.jpg' not in out and 'and 4 more (--all-names lists them)' in out
    assert main(['verify', *arguments, '--all-names']) == 2
    out = capsys.readouterr().out
    assert 'broken_13.jpg' in out and 'more' not in out


def test_cifar10(data, monkeypatch, capsys):
    from mmpretrain.datasets import CIFAR10
    root = data / 'cifar10'
    # The checksums that are asked for are those that mmpretrain asks for.
    asked = verify.cifar10.CIFAR10
    assert asked.train_list == CIFAR10.train_list and asked.test_list == CIFAR10.test_list
    assert asked.meta['md5'] == CIFAR10.meta['md5'] and asked.base_folder == CIFAR10.base_folder
    assert main(['verify', 'cifar10', str(root)]) == 2
    out = capsys.readouterr().out
    assert out.count('is not the published file') == 7 and 'cifar-10-python.tar.gz' in out

    def md5(name):
        return hashlib.md5((root / 'cifar-10-batches-py' / name).read_bytes()).hexdigest()

    # With the miniature's own sums in place of the published ones.
    monkeypatch.setattr(asked, 'train_list', [[f'data_batch_{n}', md5(f'data_batch_{n}')] for n in range(1, 6)])
    monkeypatch.setattr(asked, 'test_list', [['test_batch', md5('test_batch')]])
    monkeypatch.setattr(asked, 'meta', {'filename': 'batches.meta', 'md5': md5('batches.meta')})
    report = verify_cifar10(root)
    assert not report.problems
    assert [(row['split'], row['whole'], row['images']) for row in report.rows] == [
        ('train', 5, 50_000), ('test', 1, 10_000), ('names of the classes', 1, '')]
    (root / 'cifar-10-batches-py/data_batch_3').unlink()
    assert [problem.what for problem in verify_cifar10(root).problems] == [
        f'there is no {root}/cifar-10-batches-py/data_batch_3']
    with pytest.raises(InputError, match='cifar-10-python.tar.gz'):
        verify_cifar10(data / 'coco')


def test_the_tool_runs_from_any_folder(originals, tmp_path):
    tool = ROOT / 'tools/dataset_converters/verify_data.py'
    done = subprocess.run([sys.executable, tool, 'voc', originals, '--subset'], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.endswith('no problem found\n')


# Configs and folders


def test_a_folder_is_recognised(originals, tmp_path, capsys):
    for place, title in (('VOCdevkit', 'Pascal VOC 2012'), ('imagenet', 'Folders of classes'),
                         ('coco', 'COCO annotation files'), ('cifar10', 'CIFAR-10')):
        assert main(['verify', str(originals / place)]) == (2 if place == 'cifar10' else 0)
        assert capsys.readouterr().out.startswith(title)
    assert main(['verify', str(tmp_path)]) == 2
    assert 'holds no data set in a layout that is known' in capsys.readouterr().err


def test_coco_files_under_any_name(tmp_path):
    """As Roboflow exports them: a file beside its images in each split's folder."""
    for split, number in (('train', 3), ('valid', 2)):
        images = [dict(id=i, file_name=f'{split}_{i}.jpg', width=30, height=20) for i in range(number)]
        for image in images:
            save_image(tmp_path / split / image['file_name'])
        (tmp_path / split / '_annotations.coco.json').write_text(json.dumps(dict(
            images=images, categories=[dict(id=0, name='things', supercategory='none'), dict(id=1, name='cat')],
            annotations=[dict(id=i, image_id=i, category_id=1, bbox=[1, 1, 9, 9]) for i in range(number)])))
    for name in ('.vscode/settings.json', '.ipynb_checkpoints/copy.json', '._a.json'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((tmp_path / 'train/_annotations.coco.json').read_text())
    report = verify.verify_folder(tmp_path)
    assert not report.problems and [row['read'] for row in report.rows] == [3, 2]
    edit(tmp_path / 'valid/_annotations.coco.json', lambda document: document['categories'].reverse())
    edit(tmp_path / 'train/_annotations.coco.json', lambda document: document['annotations'][1].update(category_id=7))
    (tmp_path / 'valid/valid_1.jpg').unlink()
    found = '\n'.join(problem.text() for problem in verify.verify_folder(tmp_path).problems)
    for word in ('different classes, or in another order', 'annotation 1: category_id 7', '1 of 2 images do not exist'):
        assert word in found
    (tmp_path / 'valid/_annotations.coco.json').write_text('{')
    assert 'valid/_annotations.coco.json is broken JSON' in verify.verify_folder(tmp_path).problems[-1].what
    (tmp_path / 'train/_annotations.coco.json').write_text('{')
    with pytest.raises(InputError, match='is broken JSON'):
        verify.verify_folder(tmp_path)


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_a_config(task, place, capsys):
    assert main(['verify', f'{task}.py']) == 0
    assert re.search(r'train +16 .*\nval +6 ', capsys.readouterr().out)
    shutil.rmtree(place / 'data')
    assert main(['verify', f'{task}.py', '--all-images']) == 2
    assert 'data not found' in capsys.readouterr().out


def test_flags_that_are_not_for_the_target(place):
    for arguments in (['detection.py', 'data'], ['detection.py', '--subset'], ['data', '--cfg-options', 'a=1'],
                      ['coco', 'data', '--quick', '--all-images']):
        with pytest.raises(SystemExit) as stop:
            main(['verify', *arguments])
        assert stop.value.code == 2


def test_the_earlier_name(tmp_path, capsys):
    assert main(['verify-data', 'coco', str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith('verify-data: now "mobileode verify"\nerror: ')
