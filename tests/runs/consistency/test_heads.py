"""Labels and heads: names of classes, labels of lists, what evaluators count."""
import json

import cv2
import pytest

from mobileode_mm.runs.config import leaf_datasets


def with_classes(*classes):
    def change(cfg):
        for split in ('train', 'val'):
            cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=classes)
    return change


@pytest.mark.parametrize('classes, word', [
    (('red', 'green', 'blue'), 'red is used for the folder blue'), (('Red', 'Green', 'Blue'), 'Red is used for the'),
    (('green', 'blue', 'other'), 'green is used for the folder blue')])
def test_class_names_in_another_order_than_the_folders(classes, word, findings):
    problems, _ = findings('classification', with_classes(*classes))
    assert len(problems) == 2  # train and val
    assert word in problems[0] and "metainfo=dict(classes=('blue', 'green', 'red'))" in problems[0]


def test_class_names_in_the_order_of_the_folders(findings):
    assert findings('classification', with_classes('blue', 'green', 'red')) == ([], [])
    assert findings('classification', with_classes('Blue', 'Green', 'Red')) == ([], [])


def test_class_names_that_no_folder_has(findings):
    problems, notes = findings('classification', with_classes('sky', 'grass', 'rose'))
    assert not problems and len(notes) == 2 and 'blue: sky' in notes[0]


@pytest.fixture
def listed(place, findings):
    """Findings where the images of train are listed with their labels."""

    def check(line):
        lines = [line(path, label) for label, name in enumerate(('blue', 'green', 'red'))
                 for path in sorted((place / 'data/folders/train' / name).iterdir())]
        (place / 'data/folders/train.txt').write_text('\n'.join(lines) + '\n')

        def change(cfg):
            cfg.train_dataloader.dataset.update(ann_file='train.txt')
            with_classes('blue', 'green', 'red')(cfg)
        return findings('classification', change)

    return check


def name(path):
    return f'{path.parent.name}/{path.name}'


def test_labels_of_a_list(listed):
    assert listed(lambda path, label: f'{name(path)} {label}') == ([], [])
    problems, _ = listed(lambda path, label: f'{name(path)} {label + 1}')
    assert len(problems) == 1 and 'train.txt: 6 images have a label beyond the 3 classes' in problems[0]
    assert 'The labels seem to count from 1' in problems[0] and '.png: 3' in problems[0]
    problems, notes = listed(lambda path, label: f'{name(path)} {max(label, 1)}')
    assert not problems and any('1 classes have no image; they cannot be learnt:\n    blue' in note for note in notes)


@pytest.mark.parametrize('line', [
    lambda path, label: f'{name(path)},{label}', lambda path, label: f'{name(path)} {path.parent.name}',
    lambda path, label: name(path), lambda path, label: f'{name(path)} {label}.0',
    lambda path, label: f'{name(path)} -1'])
def test_lines_of_a_list_that_cannot_be_read(line, listed):
    problems, _ = listed(line)
    assert len(problems) == 1 and 'train.txt: 16 of 16 lines are not of the form FILE LABEL' in problems[0]
    assert 'line 1: ' in problems[0]


def test_an_empty_class_folder(place, findings):
    for split in ('train', 'val'):
        (place / f'data/folders/{split}/yellow').mkdir()
    problems, notes = findings('classification', heads=dict(head=4))
    assert not problems
    assert any('1 classes have no image; they cannot be learnt:\n    yellow' in note for note in notes)


@pytest.mark.parametrize('topk, left', [((1, 5), '(1,)'), ((5, ), '(1,)'), (4, '(1,)'), ((1, 3), None), (1, None)])
def test_topk_beyond_the_classes(topk, left, findings):
    problems, _ = findings('classification', lambda cfg: cfg.val_evaluator.update(topk=topk))
    if left is None:
        assert not problems
    else:
        assert len(problems) == 1 and 'the head has 3 classes' in problems[0]
        assert f'set val_evaluator.topk={left}' in problems[0]


def test_topk_of_several_evaluators(findings):
    def change(cfg):
        cfg.val_evaluator = [dict(type='SingleLabelMetric'), dict(type='Accuracy', topk=(1, 5))]
    assert 'val_evaluator.1.topk is (1, 5)' in findings('classification', change)[0][0]


def test_more_objects_than_are_counted(findings, edit):
    def crowd(document):
        first = document['annotations'][0]
        document['annotations'] += [dict(first, id=1000 + number) for number in range(100)]
    path = edit('val', crowd)
    image = json.loads(path.read_text())['images'][0]['file_name']

    def found(**test_cfg):
        problems, notes = findings('detection', lambda cfg: cfg.model.test_cfg.update(test_cfg))
        assert not problems
        return [note for note in notes if 'in an image' in note]

    counted, = found(max_per_img=200)
    assert "mmdet's coco/bbox_mAP counts the 100 surest boxes" in counted and f'{image}: 101' in counted
    given, counted = found(max_per_img=50)
    assert 'the detector gives 50 boxes of an image' in given and 'raise model.test_cfg.max_per_img' in given
    given, counted = found(rcnn=dict(max_per_img=60))
    assert 'the detector gives 60 boxes of an image' in given and 'raise model.test_cfg.rcnn.max_per_img' in given
    assert len(found(max_per_img=50, tile=dict(size=96, overlap=16))) == 1, 'of tiles put together 1,000 are kept'


@pytest.mark.parametrize('task, key, number, word', [
    ('segmentation', 'model.decode_head.loss_decode', 3, 'decode_head.num_classes is 4'),
    ('classification', 'model.head.loss', 4, 'head.num_classes is 3'),
    ('detection', 'model.bbox_head.loss_cls', 5, 'bbox_head.num_classes is 3')])
def test_weights_of_another_number_of_classes(task, key, number, word, findings):
    def weighted(number):
        def change(cfg):
            cfg.merge_from_dict({key: dict(type='CrossEntropyLoss', class_weight=[1.] * number)})
            if task == 'detection':
                cfg.model.bbox_head.loss_cls.use_sigmoid = True
        return change

    problems, _ = findings(task, weighted(number), model=True)
    assert len(problems) == 1 and f'{key}.class_weight has {number} weights, but {word}' in problems[0]
    assert findings(task, weighted(3 if task != 'segmentation' else 4), model=True)[0] == []


def test_weights_in_a_list_of_losses(findings):
    def change(cfg):
        cfg.model.decode_head.loss_decode = [dict(type='CrossEntropyLoss'), dict(
            type='DiceLoss', loss_name='loss_dice'), dict(type='CrossEntropyLoss', class_weight=[1., 2.])]
    assert 'loss_decode.2.class_weight has 2 weights' in findings('segmentation', change, model=True)[0][0]


@pytest.mark.parametrize('weights, settings', [
    ([1.] * 5, dict(loss_name='loss_cls_ce')),  # SAN's, with one for no class
    ([5.], dict(use_sigmoid=True))])
def test_weights_that_are_not_one_a_class(weights, settings, findings):
    def change(cfg):
        cfg.model.decode_head.loss_decode = [dict(type='CrossEntropyLoss', class_weight=weights, **settings)]
    assert findings('segmentation', change, model=True)[0] == []


def test_a_preprocessor_of_another_number_of_classes(findings):
    def change(cfg, **settings):
        cfg.model.data_preprocessor.update(num_classes=5, **settings)
    problems, _ = findings('classification', lambda cfg: change(cfg, batch_augments=dict(
        augments=dict(type='Mixup', alpha=0.2))), model=True)
    assert len(problems) == 1 and 'data_preprocessor.num_classes is 5, but head.num_classes is 3' in problems[0]
    assert findings('classification', change, model=True)[0] == [], 'without one-hot labels nothing reads it'


def test_a_config_without_a_network(findings):
    problems, _ = findings('detection', lambda cfg: cfg.pop('model'))
    assert not problems


def test_more_classes_than_a_mask_can_hold(findings):
    def change(cfg):
        for split in ('train', 'val'):
            cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=tuple(map(str, range(300))))
    problems, _ = findings('segmentation', change, heads=dict(decode_head=300))
    assert len(problems) == 2 and 'LoadAnnotations reads masks as 8 bits' in problems[0]


def test_classes_of_the_checkpoint(findings):
    problems, _ = findings('segmentation', trained=('ground', 'green', 'red', 'blue'))
    assert len(problems) == 2 and 'the checkpoint was trained for the order ground, green, red, blue' in problems[0]
    problems, notes = findings('segmentation', trained=('floor', 'red', 'green', 'blue'))
    assert not problems and any('floor: ground' in note for note in notes)
    assert findings('segmentation', trained=('ground', 'red', 'green', 'blue')) == ([], [])


@pytest.mark.parametrize('task, settings, reported', [
    ('detection', dict(metainfo=dict(CLASSES=('red', 'green'))), 'has CLASSES, which nothing reads: write classes'),
    ('detection', dict(metainfo=dict(classes='red')), "whose letters would be the classes: write classes=('red', )"),
    ('detection', dict(classes=('red', )), 'CocoDataset has no argument classes: write metainfo=dict(classes=...)'),
    ('detection', dict(img_prefix='train'), 'the dataset CocoDataset has no argument img_prefix'),
    ('segmentation', dict(metainfo=dict(classes=('a', 'b', 'c', 'd'), palette=[[0, 0, 0]])),
     'the dataset BaseSegDataset cannot be built: palette does not match classes')])
def test_names_of_classes_that_a_dataset_does_not_take(task, settings, reported, findings):
    problems, _ = findings(task, lambda cfg: leaf_datasets(cfg.train_dataloader.dataset)[0].update(settings))
    assert len(problems) == 1 and reported in problems[0]


@pytest.mark.parametrize('settings, reported', [
    (dict(use_sigmoid=False), 1), (dict(use_sigmoid=True), 0)])
def test_one_class_and_a_softmax(settings, reported, place, findings):
    def change(cfg):
        cfg.model.decode_head.update(num_classes=1, loss_decode=dict(type='CrossEntropyLoss', **settings))
        for split in ('train', 'val'):
            cfg[f'{split}_dataloader'].dataset.update(
                metainfo=dict(classes=('leaf', ), palette=[[0, 99, 0]]), reduce_zero_label=True)
    for path in (place / 'data/voc/SegmentationClass').iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), (labels > 0).astype('uint8'))
    problems, _ = findings('segmentation', change, heads=dict(decode_head=1), model=True)
    assert len(problems) == reported
    assert not reported or 'decode_head has one class, of which the softmax of loss_decode makes 1' in problems[0]


def test_a_detector_of_one_class_has_another_score(findings):
    def change(cfg):
        cfg.model.bbox_head.update(num_classes=1, loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False))
        for split in ('train', 'val'):
            leaf_datasets(cfg[f'{split}_dataloader'].dataset)[0].metainfo = dict(classes=('red', ))
    problems, _ = findings('detection', change, heads=dict(bbox_head=1), model=True)
    assert problems == []


def test_a_label_that_is_taken_off_in_one_split(findings):
    problems, _ = findings('segmentation', lambda cfg: cfg.val_dataloader.dataset.update(reduce_zero_label=True))
    assert any('(train) has reduce_zero_label=False and' in problem and '(val) has True' in problem
               for problem in problems)
