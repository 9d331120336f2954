"""Labelled images in the formats that people have are recognised, and read as they are meant."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image as Pillow

from mobileode_mm.data.formats import recognise
from mobileode_mm.data.formats.found import split_of
from mobileode_mm.data.formats.masks import read_labels
from mobileode_mm.errors import InputError
from mobileode_mm.fit.tiles import read

from .conftest import CLASSES, SIDE, WRITERS, Scene, write_coco, write_masks, write_voc, write_yolo

DETECTION = ('COCO', 'YOLO', 'VOC XML')
LEFT_OUT = 'image files without a label, and masks without an image, are left out'


@pytest.mark.parametrize('name', DETECTION)
def test_boxes_are_read(name, folders, scenes):
    found = recognise(folders[name])
    assert (found.task, found.format, found.classes) == ('detection', name, CLASSES)
    assert {split: len(images) for split, images in found.splits.items()} == {'train': 12, 'val': 4}
    by_name = {scene.name: scene for scene in (*scenes['train'], *scenes['valid'])}
    for image in (*found.splits['train'], *found.splits['val']):
        scene = by_name[image.path.stem]
        assert image.size == (SIDE, SIDE)
        np.testing.assert_allclose(image.boxes, scene.boxes, atol=1e-6)
        assert image.labels.tolist() == scene.labels
        assert not image.crowd.any()


def test_linked_folders_are_read(tmp_path, scenes):
    WRITERS['class folders'](tmp_path / 'real', scenes)
    for split in scenes:
        (tmp_path / 'linked' / split).mkdir(parents=True)
        for folder in (tmp_path / 'real' / split).iterdir():
            (tmp_path / 'linked' / split / folder.name).symlink_to(folder)
    real, linked = recognise(tmp_path / 'real'), recognise(tmp_path / 'linked')
    assert linked.classes == real.classes
    assert {split: len(images) for split, images in linked.splits.items()} == {
        split: len(images) for split, images in real.splits.items()}


def test_a_category_without_boxes_is_left_out_and_named(folders):
    assert recognise(folders['COCO']).notes == ['no box is of the classes shapes: they are left out']


def test_of_cocos_own_files_the_instances_are_read(tmp_path, scenes):
    write_coco(tmp_path, scenes)
    folder = tmp_path / 'annotations'
    folder.mkdir()
    for split in scenes:
        document = json.loads((tmp_path / split / '_annotations.coco.json').read_text())
        (tmp_path / split / '_annotations.coco.json').rename(folder / f'instances_{split}2017.json')
        for kind in ('person_keypoints', 'captions'):
            (folder / f'{kind}_{split}2017.json').write_text(json.dumps(document))
    found = recognise(tmp_path)
    assert {split: len(images) for split, images in found.splits.items()} == {'train': 12, 'val': 4}
    assert f'not {folder / "captions_train2017.json"}, {folder / "captions_valid2017.json"}' in found.notes[1]
    (folder / 'instances_train2017.json').unlink()
    with pytest.raises(InputError, match='captions_train2017.json and .*person_keypoints_train2017.json both have'):
        recognise(tmp_path)


def test_a_broken_file_of_a_split_is_not_passed_over(tmp_path, scenes):
    write_coco(tmp_path, scenes)
    (tmp_path / 'notes.json').write_text('{"a": 1}\n{"a": 2}')
    assert list(recognise(tmp_path).splits) == ['train', 'val']
    path = tmp_path / 'train/_annotations.coco.json'
    path.write_text(path.read_text()[:-100])
    with pytest.raises(InputError, match='train/_annotations.coco.json is broken JSON'):
        recognise(tmp_path)


def test_ids_of_classes_may_differ_between_files(tmp_path, scenes):
    write_coco(tmp_path, scenes)
    path = tmp_path / 'valid' / '_annotations.coco.json'
    document = json.loads(path.read_text())
    for category in document['categories']:
        category['id'] = 7 - category['id']
    for annotation in document['annotations']:
        annotation['category_id'] = 7 - annotation['category_id']
    path.write_text(json.dumps(document))
    found = recognise(tmp_path)
    assert found.classes == CLASSES
    assert [image.labels.tolist() for image in found.splits['val']] == [scene.labels for scene in scenes['valid']]
    document['categories'][1].update(name='azure')
    path.write_text(json.dumps(document))
    assert recognise(tmp_path).classes == ('blue', 'green', 'red', 'azure'), 'no id of the first file is meant'
    document['categories'][1].update(id=1)
    document['annotations'] = []
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match='category 1 is azure, in another file of the same data blue'):
        recognise(tmp_path)


def test_class_folders(folders, scenes):
    found = recognise(folders['class folders'])
    assert (found.task, found.classes) == ('classification', CLASSES)
    labels = {image.path.stem: image.labels[0] for image in found.splits['train']}
    assert labels == {scene.name: scene.labels[0] for scene in scenes['train']}


def test_class_folders_without_splits(tmp_path):
    for number, label in enumerate(('cat', 'dog', 'cat')):
        Scene(number).save(tmp_path / label)
    found = recognise(tmp_path)
    assert found.classes == ('cat', 'dog') and list(found.splits) == ['all'] and len(found.splits['all']) == 3


@pytest.mark.parametrize('extra', ['__MACOSX', 'labels', 'unlabelled'])
def test_a_folder_beside_the_splits_is_no_class(extra, tmp_path, scenes):
    WRITERS['class folders'](tmp_path, scenes)
    (tmp_path / extra).mkdir()
    if extra == 'unlabelled':
        scenes['train'][0].save(tmp_path / extra)
    found = recognise(tmp_path)
    assert found.classes == CLASSES and list(found.splits) == ['train', 'val']
    assert found.notes == ([f'{LEFT_OUT}: 1 in {tmp_path / extra}'] if extra == 'unlabelled' else [])


def test_classes_whose_names_speak_of_splits(tmp_path):
    for name in ('airport', 'train_station/hall', 'train_station/platform', 'train', 'beach'):
        (tmp_path / name).mkdir(parents=True)
        Pillow.new('RGB', (8, 8)).save(tmp_path / name / 'a.png')
    assert recognise(tmp_path).classes == ('airport', 'beach', 'train', 'train_station')


def test_splits_without_folders_of_classes_are_no_classes(tmp_path):
    for name in ('train', 'val', 'results'):
        Scene(0).save(tmp_path / name)
    with pytest.raises(InputError, match='folders called train, val, as splits are'):
        recognise(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path, scenes):
    WRITERS['class folders'](tmp_path, scenes)
    shutil.copytree(tmp_path / 'valid', tmp_path / 'validation')
    with pytest.raises(InputError, match='valid and .*validation both have the images for val'):
        recognise(tmp_path)


def test_a_class_below_the_splits_may_be_called_train(tmp_path):
    for split in ('train', 'val'):
        for label in ('bus', 'train'):
            Scene(0).save(tmp_path / split / label)
    assert recognise(tmp_path).classes == ('bus', 'train')


def test_images_are_read_by_any_name_of_jpeg_and_other_kinds_are_counted(tmp_path):
    for number, label in enumerate(('cat', 'dog', 'cat', 'dog')):
        path = Scene(number).save(tmp_path / label, '.jpg')
        path.rename(path.with_suffix('.jfif' if number else '.gif'))
    found = recognise(tmp_path)
    assert len(found.splits['all']) == 3
    note, = found.notes
    assert note.startswith('images of kinds that training does not read are left out: 1 .gif; ')


@pytest.mark.parametrize('name, lost, kept', [
    ('VOC XML', 'train/*.xml', 'train'), ('images and masks', 'train/images/*.jpg', 'train/masks')])
def test_what_has_no_other_half_is_counted(name, lost, kept, tmp_path, scenes):
    WRITERS[name](tmp_path, scenes)
    next(tmp_path.glob(lost)).unlink()
    found = recognise(tmp_path)
    assert len(found.splits['train']) == 11
    assert found.notes == [f'{LEFT_OUT}: 1 in {tmp_path / kept}']


def test_masks(folders, scenes):
    found = recognise(folders['images and masks'])
    assert (found.task, found.classes) == ('segmentation', ('ground', *CLASSES))
    assert [image.mask.stem for image in found.splits['val']] == [image.path.stem for image in found.splits['val']]


def test_masks_in_an_unpacked_archive(tmp_path, scenes):
    write_masks(tmp_path, dict(archive=scenes['valid']))
    assert len(recognise(tmp_path).splits['all']) == 4


def write_values(folder, scenes, values, suffix='.png'):
    """Images, and masks in which these values stand for the ground and the three classes."""
    (folder / 'masks').mkdir()
    for scene in scenes:
        scene.save(folder / 'images', '.jpg')
        Pillow.fromarray(np.array(values, np.uint8)[scene.mask]).save(folder / 'masks' / f'{scene.name}{suffix}')


@pytest.mark.parametrize('names, classes', [(None, ('background', 'object')), ('road\ncar\n', ('road', 'car'))])
def test_masks_of_two_values(names, classes, tmp_path, scenes):
    write_values(tmp_path, scenes['valid'], (0, 255, 255, 255))
    if names:
        (tmp_path / 'classes.txt').write_text(names)
    found = recognise(tmp_path)
    assert found.classes == classes and list(found.splits) == ['all']
    by_name = {scene.name: scene for scene in scenes['valid']}
    for image in found.splits['all']:
        np.testing.assert_array_equal(read_labels(image), by_name[image.path.stem].mask > 0)


def test_where_255_is_no_class_it_stays_so(tmp_path, scenes):
    write_values(tmp_path, scenes['valid'], (0, 1, 1, 255))
    (tmp_path / 'classes.txt').write_text('background\nobject\n')
    for image in recognise(tmp_path).splits['all']:
        labels = read_labels(image)
        np.testing.assert_array_equal(labels, np.asarray(Pillow.open(image.mask)))


@pytest.mark.parametrize('values, suffix, names, message', [
    ((0, 128, 255, 255), '.png', None, 'have the values 0, 128, 255, and most .* 129 classes. Map those'),
    ((0, 80, 160, 240), '.png', None, 'have the values 0, 80, 160, 240, and most .* 241 classes. Map those'),
    ((0, 255, 255, 255), '.jpg', None, 'is a JPEG, whose compression changes the values'),
    ((0, 255, 255, 255), '.png', 'car\n', 'names 1 classes, but label maps have the values 0 and 255 alone'),
    ((0, 128, 128, 128), '.png', 'a\nb\n', 'names 2 classes, but .* the value 128: .* map the values to 0 to 1'),
])
def test_values_that_are_no_class_indices_are_refused(values, suffix, names, message, tmp_path, scenes):
    write_values(tmp_path, scenes['valid'], values, suffix)
    if names:
        (tmp_path / 'classes.txt').write_text(names)
    with pytest.raises(InputError, match=message):
        recognise(tmp_path)


def test_splits_below_images_and_masks(tmp_path, scenes):
    write_masks(tmp_path / 'before', scenes)
    for split in scenes:
        for kind in ('images', 'masks'):
            shutil.copytree(tmp_path / 'before' / split / kind, tmp_path / 'after' / kind / split)
    assert {split: len(images) for split, images in recognise(tmp_path / 'after').splits.items()} == {
        'train': 12, 'val': 4}


def test_images_turned_by_exif_have_the_size_that_is_seen(tmp_path):
    scene = Scene(0)
    for write in (write_yolo, write_coco):
        write(tmp_path / write.__name__, dict(train=[scene], valid=[scene]))
        path = next((tmp_path / write.__name__).rglob('train/**/*.jpg'))
        exif = Pillow.Exif()
        exif[0x0112] = 6
        Pillow.fromarray(scene.pixels[:, :48]).save(path, exif=exif)
    image, = recognise(tmp_path / 'write_yolo').splits['train']
    assert image.size == (48, SIDE)
    with pytest.raises(InputError, match='is 64x64; it is seen as 64x48'):
        recognise(tmp_path / 'write_coco')


def test_boxes_are_cut_to_their_images_and_those_outside_are_left_out(tmp_path):
    scene = Scene(0)
    scene.boxes = [(50, 50, SIDE + 10, SIDE + 10), (SIDE + 5, 0, SIDE + 15, 10), (1, 1, 20, 20)]
    scene.labels = [0, 1, 2]
    write_voc(tmp_path, dict(train=[scene]))
    found = recognise(tmp_path)
    image, = found.splits['train']
    assert image.boxes.tolist() == [[50, 50, SIDE, SIDE], [1, 1, 20, 20]] and image.labels.tolist() == [0, 2]
    assert found.notes == ['boxes without size, or outside of their image, are left out: scene_0.png (1)']


def test_sizes_in_xml_are_those_of_the_images(tmp_path, scenes):
    write_voc(tmp_path, scenes)
    path = next(tmp_path.glob('train/*.xml'))
    text = path.read_text()

    def say(height, width):
        size = f'<size><width>{width}</width><height>{height}</height></size>'
        path.write_text(text.replace('<object>', f'{size}<object>', 1))
        return recognise(tmp_path)

    assert say(SIDE, SIDE).task == say(0, 0).task == 'detection'
    with pytest.raises(InputError, match=rf'{path.name} says that .* is 96x128; it is seen as {SIDE}x{SIDE}'):
        say(128, 96)


def test_lists_of_voc(tmp_path, scenes):
    write_voc(tmp_path, dict(photographs=scenes['train']))
    lists = tmp_path / 'ImageSets' / 'Main'
    lists.mkdir(parents=True)

    def splits(**stems):
        for name, numbers in stems.items():
            (lists / f'{name}.txt').write_text('\n'.join(f'scene_{number}' for number in numbers))
        return {split: len(images) for split, images in recognise(tmp_path).splits.items()}

    assert splits(trainval=range(8), test=range(8, 10)) == dict(train=8, test=2)
    assert splits(val=range(6, 8)) == dict(train=6, val=2, test=2)
    assert splits(train=range(5)) == dict(train=5, val=2, test=2)


@pytest.mark.parametrize('line', ['{}', '{}.png', '/me/JPEGImages/{}.jpg', 'C:\\me\\{}.JPG', '{}  1', '{} -1'])
def test_lines_in_lists_of_voc(line, tmp_path, scenes):
    write_voc(tmp_path, dict(photographs=scenes['train']))
    for place in tmp_path.glob('photographs/*'):  # names with blanks, and a number that is a name
        place.rename(place.with_stem({'scene_0': '1', 'scene_1': 'scene 1.b'}.get(place.stem, place.stem)))
    (lists := tmp_path / 'ImageSets/Main').mkdir(parents=True)
    (lists / 'train.txt').write_bytes(b''.join(line.format(f'scene_{n}').encode() + b'\r\n' for n in range(2, 9)))
    (lists / 'val.txt').write_text('\ufeffscene_9\nscene 1.b\n\n', 'utf-8')
    found = recognise(tmp_path)
    assert {split: {image.path.stem for image in images} for split, images in found.splits.items()} == {
        'train': {f'scene_{number}' for number in range(2, 9)}, 'val': {'scene_9', 'scene 1.b'}}


def test_an_image_that_is_cut_short_is_named(tmp_path):
    path = Scene(0).save(tmp_path, '.jpg')
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match='scene_0.jpg cannot be read as an image: image file is truncated'):
        read(path)


@pytest.mark.parametrize('values', [2, 3])
def test_of_poses_the_boxes_are_taken(values, tmp_path, scenes):
    write_yolo(tmp_path, scenes)
    keypoint = ' 0.1 0.9 2' if values == 3 else ' 0.1 0.9'
    for path in tmp_path.glob('*/labels/*.txt'):
        path.write_text('\n'.join(row + 4 * keypoint for row in path.read_text().splitlines()))
    with (tmp_path / 'data.yaml').open('a') as file:
        file.write(f'kpt_shape: [4, {values}]\n')
    found = recognise(tmp_path)
    by_name = {scene.name: scene for scene in scenes['train']}
    for image in found.splits['train']:
        np.testing.assert_allclose(image.boxes, by_name[image.path.stem].boxes, atol=1e-6)
    assert found.notes == ['of poses the boxes are taken, without their keypoints']
    path.write_text('0 0.5 0.5 0.1 0.1 0.2 0.2\n')
    with pytest.raises(InputError, match=f'line 1: 6 numbers after the class; by kpt_shape .* have {4 + 4 * values}'):
        recognise(tmp_path)


def test_a_file_name_from_another_machine(tmp_path, scenes):
    """CVAT and Label Studio write paths of the machine where the labels were made."""
    write_coco(tmp_path, dict(train=scenes['train'][:2]))
    path = tmp_path / 'train' / '_annotations.coco.json'
    document = json.loads(path.read_text())
    document['images'][0]['file_name'] = 'C:\\labels\\' + document['images'][0]['file_name']
    path.write_text(json.dumps(document))
    assert [image.path.parent for image in recognise(tmp_path).splits['train']] == [tmp_path / 'train'] * 2


def test_whole_numbers_may_be_written_as_those_of_tables_are(tmp_path, scenes):
    write_coco(tmp_path, scenes)
    before = recognise(tmp_path)
    for path in tmp_path.glob('*/*.json'):
        document = json.loads(path.read_text())
        for key, names in (('images', ('id', 'width', 'height')), ('categories', ('id', )),
                           ('annotations', ('id', 'image_id', 'category_id'))):
            for entry in document[key]:
                entry.update({name: float(entry[name]) for name in names})
        path.write_text(json.dumps(document))
    found = recognise(tmp_path)
    assert found.classes == before.classes
    assert [image.labels.tolist() for image in found.splits['train']] == [
        image.labels.tolist() for image in before.splits['train']]


@pytest.mark.parametrize('line', ['/home/me/data/{}/images/{}', './{}/images/{}', '.\\{}\\images\\{}',
                                  'C:\\me\\{}\\images\\{}', 'data/{}/images/{}'])
def test_lists_of_yolo_from_another_machine(line, tmp_path, scenes):
    """Folders tell images apart that have one name in several splits."""
    write_yolo(tmp_path, scenes)
    for split in scenes:
        for kind in ('images/*', 'labels/*'):
            for number, path in enumerate(sorted((tmp_path / split).glob(kind))):
                path.rename(path.with_stem(f'{number:03}'))
        names = sorted(path.name for path in (tmp_path / split / 'images').iterdir())
        (tmp_path / f'{split}.txt').write_text(''.join(line.format(split, name) + '\r\n' for name in names))
    (tmp_path / 'data.yaml').write_text(f'train: train.txt\nval: valid.txt\nnames: {list(CLASSES)}\n')
    found = recognise(tmp_path)
    assert {split: {image.path.parent for image in images} for split, images in found.splits.items()} == {
        'train': {tmp_path / 'train/images'}, 'val': {tmp_path / 'valid/images'}}
    (tmp_path / 'valid.txt').write_text('000.jpg')
    with pytest.raises(InputError, match='the image 000.jpg could be any of'):
        recognise(tmp_path)


def test_names_of_yolo_by_label(tmp_path, scenes):
    write_yolo(tmp_path, scenes)

    def classes(names):
        (tmp_path / 'data.yaml').write_text(f'train: train/images\nval: valid/images\nnames: {names}\n')
        return recognise(tmp_path).classes

    many = {str(number): f'class {number}' for number in range(12)}
    assert classes(many) == classes({int(label): name for label, name in many.items()}) == tuple(many.values())
    for names in ({1: 'blue', 2: 'green', 3: 'red'}, {'blue': 0, 'green': 1, 'red': 2}, 'classes.txt'):
        with pytest.raises(InputError, match='has a name for each label from 0 on'):
            classes(names)


@pytest.mark.parametrize('name', WRITERS)
def test_what_editors_and_macos_leave_is_passed_over(name, tmp_path, scenes):
    """Settings of an editor, a notebook's copy, and what a Mac puts into archives beside each file."""
    WRITERS[name](tmp_path, scenes)
    kinds = {path.suffix: path for path in tmp_path.glob('**/*.*')}
    for path in kinds.values():
        path.with_name(f'._{path.name}').write_bytes(b'\0\5\x16\7')
        (copies := path.parent / '.ipynb_checkpoints').mkdir(exist_ok=True)
        shutil.copy(path, copies)
    (tmp_path / '.vscode').mkdir()
    (tmp_path / '.vscode/settings.json').write_text('{\n  // mine\n}')
    found = recognise(tmp_path)
    assert found.format == name
    assert {split: len(images) for split, images in found.splits.items()} == {'train': 12, 'val': 4}


def test_names_of_splits():
    assert [split_of(name) for name in ('instances_val2017', 'train', 'valid', 'my_test_set', 'valley', 'trains')] == [
        'val', 'train', 'val', 'test', None, None]


def _spoil(folder, name):
    """What is wrong, by the format that it is wrong in."""
    if name == 'a row of pixels':
        next(folder.glob('train/labels/*.txt')).write_text('0 20 20 10 10\n')
    elif name == 'an unknown class':
        next(folder.glob('train/labels/*.txt')).write_text('7 0.5 0.5 0.1 0.1\n')
    elif name == 'no number':
        next(folder.glob('train/labels/*.txt')).write_text('cat 0.5 0.5 0.1 0.1\n')
    elif name == 'a missing image':
        next(folder.glob('train/*.jpg')).unlink()
    elif name == 'an unknown image':
        path = folder / 'train' / '_annotations.coco.json'
        path.write_text(path.read_text().replace('"image_id": 0', '"image_id": 99'))
    elif name == 'broken XML':
        next(folder.glob('train/*.xml')).write_text('<annotation><object>')
    elif name == 'a box without corners':
        path = next(folder.glob('train/*.xml'))
        path.write_text(path.read_text().replace('<xmin>', '<left>').replace('</xmin>', '</left>'))
    elif name == 'a missing mask':
        next(folder.glob('train/masks/*.png')).unlink()
    elif name == 'a mask of colours':
        path = next(folder.glob('train/masks/*.png'))
        Pillow.open(path).convert('RGB').save(path)
    elif name == 'no image':
        next(folder.glob('train/*/*.png')).write_bytes(b'no image')
    elif name == 'a class of validation alone':
        shutil.copytree(folder / 'valid' / next((folder / 'valid').iterdir()).name, folder / 'valid' / 'yellow')


@pytest.mark.parametrize('form, name, message', [
    ('YOLO', 'a row of pixels', 'line 1: .* outside of 0 to 1'),
    ('YOLO', 'an unknown class', 'line 1: class 7 is none of 0 to 2'),
    ('YOLO', 'no number', 'line 1: .* no row of numbers'),
    ('COCO', 'an unknown image', 'annotations have a image_id that the file does not list'),
    ('COCO', 'a missing image', r'the image scene_\d+.jpg is not there'),
    ('VOC XML', 'broken XML', r'scene_\d+.xml cannot be read as XML'),
    ('VOC XML', 'a box without corners', r'scene_\d+.xml: bndbox without xmin'),
    ('images and masks', 'a missing mask', '1 of 12 images .* have no mask'),
    ('images and masks', 'a mask of colours', 'of the mode RGB: a label map has one channel'),
    ('class folders', 'no image', r'scene_\d+.png cannot be read as an image'),
    ('class folders', 'a class of validation alone', 'no images of the classes yellow'),
])
def test_what_is_wrong_is_named(tmp_path, scenes, form, name, message):
    WRITERS[form](tmp_path, scenes)
    _spoil(tmp_path, name)
    with pytest.raises(InputError, match=message):
        recognise(tmp_path)


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(InputError, match='there is no folder'):
        recognise(tmp_path / 'absent')
    with pytest.raises(InputError, match='in no format that is known here'):
        recognise(tmp_path)
