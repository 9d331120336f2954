"""Labels and images: sizes, turned images, masks."""
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileode_mm.runs.config import leaf_datasets

MASKS = 'data/voc/SegmentationClass'


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_sizes_that_the_file_does_not_say(place, findings, edit):
    edit('train', lambda document: document['images'][3].update(width=32))
    problems, _ = findings('detection')
    assert len(problems) == 1
    assert 'train_3.jpg (is 64x64, the annotation file says 32x64)' in problems[0]


def turn(place, edit, orientation, size=(64, 40)):
    """Store image 3 of train with an EXIF orientation, and the size ``size`` (width, height) in the file."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    save(place / 'data/coco/train/train_3.jpg', pixels, exif=exif(orientation))
    edit('train', lambda document: document['images'][3].update(width=size[0], height=size[1]) or
         document['annotations'][3].update(bbox=[5, 5, 20, 20]))


def test_turned_images(place, findings, edit):
    turn(place, edit, 6)
    problems, _ = findings('detection')
    assert len(problems) == 1 and 'train_3.jpg (is 40x64, the annotation file says 64x40: its EXIF tag' in problems[0]

    def unturned(cfg):
        cfg.train_dataloader.dataset.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    assert not findings('detection', unturned)[0]
    turn(place, edit, 6, size=(40, 64))  # labelled as it is shown
    problems, notes = findings('detection')
    assert not problems and not any('EXIF' in note for note in notes)
    turn(place, edit, 3)  # upside down: the size tells nothing
    problems, notes = findings('detection')
    assert not problems and any('1 images are turned by their EXIF tag' in note for note in notes)


def test_sixteen_bits_that_pillow_makes_white(place, findings):
    cv2.imwrite(str(place / 'data/folders/train/red/train_0.png'), np.full((64, 64), 9000, np.uint16))
    assert not findings('classification')[0]

    def with_pillow(cfg):
        cfg.train_dataloader.dataset.pipeline[0].imdecode_backend = 'pillow'
    assert 'train_0.png (has 16 bits' in findings('classification', with_pillow)[0][0]


@pytest.mark.parametrize('change, word', [
    (lambda labels: np.stack([labels] * 3, -1), 'has 3 channels, all of one content: save one of them'),
    (lambda labels: np.stack([labels, 0 * labels, labels], -1), 'has 3 channels, colours where class indices belong'),
    (lambda labels: np.stack([labels] * 4, -1), 'has 4 channels'),
    (lambda labels: labels.repeat(2, 0).repeat(2, 1), 'is 128x128, its image 64x64'),
    (lambda labels: labels[:, :60], 'is 60x64, its image 64x64'),
    (lambda labels: labels + np.uint8(4), 'holds label 4, the config has 4 classes'),
    (lambda labels: labels.astype(np.uint16) + 300, 'holds label 300'),  # as 8 bits it would be 44
])
def test_masks_that_do_not_fit(change, word, place, findings):
    path = place / MASKS / 'train_2.png'
    save(path, change(np.asarray(Image.open(path))))
    problems, _ = findings('segmentation')
    assert len(problems) == 1 and f'{MASKS}/train_2.png ({word}' in problems[0]


@pytest.mark.parametrize('change', [
    lambda labels: Image.fromarray(labels.astype(np.uint16)), lambda labels: Image.fromarray(labels == 1)],
    ids=['16 bits', '1 bit'])
def test_masks_that_are_read_right(change, place, findings):
    path = place / MASKS / 'train_2.png'
    change(np.asarray(Image.open(path))).save(path)
    assert not findings('segmentation')[0]


def test_mask_of_an_image_that_is_turned(place, findings):
    save(place / 'data/voc/JPEGImages/train_2.jpg', np.zeros((40, 64, 3), np.uint8), exif=exif(6))
    save(place / MASKS / 'train_2.png', np.zeros((40, 64), np.uint8))
    assert 'is 64x40, its image 40x64: the EXIF tag of the image turns it' in findings('segmentation')[0][0]
    save(place / MASKS / 'train_2.png', np.zeros((64, 40), np.uint8))
    assert not findings('segmentation')[0]


def test_masks_of_0_and_255(place, findings):
    for path in (place / MASKS).glob('train_*.png'):
        save(path, np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8))
    problems, _ = findings('segmentation')
    assert len(problems) == 1
    assert "the 16 label maps hold 0 and 255 only, and 255 counts for no class: 'red' has no pixel" in problems[0]


def test_classes_without_a_pixel(place, findings):
    for path in (place / MASKS).glob('train_*.png'):
        save(path, np.minimum(np.asarray(Image.open(path)), 2))
    problems, notes = findings('segmentation')
    assert not problems
    assert any('1 classes have no pixel in the 16 label maps of train that were read:\n    blue' in note
               for note in notes)


def test_masks_without_a_pixel_of_any_class(place, findings):
    for path in (place / MASKS).glob('train_*.png'):
        save(path, np.full_like(np.asarray(Image.open(path)), 255))
    problems, _ = findings('segmentation')
    assert len(problems) == 1
    assert 'the 16 label maps of train that were read hold 255 only: no pixel of any class' in problems[0]


def test_names_with_their_suffix_in_the_list(place, findings):
    path = place / 'data/voc/train.txt'
    path.write_text(path.read_text().replace('\n', '.jpg\n'))
    assert 'The list gives names with their suffix; leave .jpg out of it' in findings('segmentation')[0][0]


def test_broken_annotations_are_named_once(place, findings, edit):
    """What builds on entries that are broken is left out."""
    edit('train', lambda document: document['images'][0].pop('file_name'))
    problems, _ = findings('detection')
    assert len(problems) == 1
    assert json.loads((place / 'data/coco/annotations/train.json').read_text())['images'][1]['file_name']


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_indices_beyond_the_images(task, findings):
    def only(*numbers):
        return lambda cfg: cfg.val_dataloader.dataset.update(indices=numbers)
    problems, _ = findings(task, only(0, 99, -7))
    assert len(problems) == 1 and 'the indices of the val data hold 99, -7, and ' in problems[0]
    assert 'to numbers from 0 to 5' in problems[0]
    assert findings(task, only(0, 5, -6))[0] == []


def test_images_whose_names_are_not_known(place, findings):
    """Data sets that read a folder pass them over."""
    folder = place / 'data/folders/train/red'
    Image.open(folder / 'train_0.png').save(folder / 'more.webp')
    (folder / 'notes.txt').write_text('no image')
    problems, notes = findings('classification')
    assert not problems
    assert any('train: 1 of 17 image files are not used, as their names do not end in .bmp, ' in note
               and '1 .webp' in note and 'set extensions of the dataset' in note for note in notes)

    for number in (1, 2):
        (place / f'data/voc/JPEGImages/train_{number}.jpg').rename(place / f'data/voc/JPEGImages/train_{number}.JPG')

    def of_a_folder(cfg):
        cfg.train_dataloader.dataset.update(ann_file='')
    _, notes = findings('segmentation', of_a_folder)
    assert any('JPEGImages: 2 of 22 image files are not used, as their names do not end in .jpg: 2 .JPG' in note
               and 'set img_suffix' in note for note in notes)


def test_a_folder_of_unknown_images_alone(place, findings):
    for path in (place / 'data/folders/train').rglob('*.png'):
        path.rename(path.with_suffix('.heic'))
    problems, _ = findings('classification')
    assert any('cannot list its images: Found 0 files' in problem for problem in problems)


@pytest.mark.parametrize('task, prefix, reported', [
    ('detection', dict(img_path='train'), 'data_prefix of the CocoDataset has no img, the folder of the images, but '),
    ('detection', 'train', "the dataset CocoDataset cannot be built: 'str' object has no attribute 'items'"),
    ('segmentation', dict(img='JPEGImages'), 'data_prefix of the BaseSegDataset has no img_path, the folder')])
def test_a_prefix_of_another_toolbox(task, prefix, reported, findings):
    problems, _ = findings(
        task, lambda cfg: setattr(leaf_datasets(cfg.train_dataloader.dataset)[0], 'data_prefix', prefix))
    assert len(problems) == 1 and reported in problems[0]


def test_a_pipeline_that_cannot_be_built_is_left_to_the_run(findings):
    def change(cfg):
        cfg.train_dataloader.dataset.pipeline[0].type = 'LoadImageFromFle'
    assert findings('classification', change, model=True)[0] == []
