import importlib
import json
import random
import subprocess
import sys

import mmengine
import numpy as np
import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from PIL import Image

import mobileode_mm  # noqa: F401 (lets mmdet be imported without compiled mmcv)
from mobileode_mm.analysis import drawing, sheet
from mobileode_mm.analysis.sheet import prediction_sheet
from mobileode_mm.errors import InputError

mmdet_datasets = pytest.importorskip('mmdet.datasets', reason='needs mmdet')
mmseg_datasets = pytest.importorskip('mmseg.datasets', reason='needs mmseg')
mmpretrain_datasets = pytest.importorskip('mmpretrain.datasets', reason='needs mmpretrain')

NAMES = ('circle', 'square')
# Wide and tall; the longest side becomes 400 on the sheet, so that the scales are 2 and 4.
SIZES = [(200, 120), (200, 120), (50, 100), (200, 120), (200, 120)]
SCALES = [2, 2, 4, 2, 2]
BOX = [20., 10., 60., 50.]
GREY = 90


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five grey images as a COCO data set, with segmentation maps and as classes."""
    root = tmp_path_factory.mktemp('images')
    images, annotations = [], []
    for name in ('images', 'maps', 'classes/circle', 'classes/square'):
        (root / name).mkdir(parents=True)
    for index, (width, height) in enumerate(SIZES):
        image = np.full((height, width, 3), GREY, np.uint8)
        Image.fromarray(image).save(root / 'images' / f'{index}.png')
        Image.fromarray(image).save(root / 'classes' / NAMES[index % 2] / f'{index}.png')
        segments = np.zeros((height, width), np.uint8)
        segments[10:50, 20:40] = 1
        segments[10:50, 40:50] = 255  # unlabelled
        Image.fromarray(segments).save(root / 'maps' / f'{index}.png')
        images.append(dict(id=index, file_name=f'{index}.png', width=width, height=height))
        annotations += [
            dict(id=2 * index + 1, image_id=index, category_id=1 + index % 2, bbox=[20, 10, 40, 40],
                 area=1600, iscrowd=0),
            dict(id=2 * index + 2, image_id=index, category_id=1, bbox=[1, 60, 45, 20], area=900, iscrowd=1)]
    (root / 'boxes.json').write_text(json.dumps(dict(
        images=images, annotations=annotations,
        categories=[dict(id=1, name='circle'), dict(id=2, name='square')])))
    return root


@pytest.fixture(autouse=True)
def no_visualizer_is_left():
    visualizers = dict(Visualizer._instance_dict)
    yield
    assert dict(Visualizer._instance_dict) == visualizers


@pytest.fixture(scope='module')
def boxes(folder):
    # Annotations loaded before the resize: the sample's own boxes do not fit the image.
    return mmdet_datasets.CocoDataset(
        data_root=str(folder), ann_file='boxes.json', data_prefix=dict(img='images/'),
        metainfo=dict(classes=NAMES), test_mode=True, pipeline=[
            dict(type='LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=False),
            dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))])


@pytest.fixture(scope='module')
def maps(folder):
    (folder / 'list.txt').write_text('\n'.join(str(index) for index in range(len(SIZES))))
    return mmseg_datasets.BaseSegDataset(
        data_root=str(folder), ann_file='list.txt', data_prefix=dict(img_path='images', seg_map_path='maps'),
        img_suffix='.png', metainfo=dict(classes=('ground', 'thing'), palette=[[0, 0, 0], [250, 30, 30]]),
        test_mode=True, pipeline=[
            dict(type='LoadImageFromFile'), dict(type='mmseg.Resize', scale=(64, 64), keep_ratio=False),
            dict(type='mmseg.LoadAnnotations'), dict(type='mmseg.PackSegInputs')])


@pytest.fixture(scope='module')
def labelled(folder):
    return mmpretrain_datasets.CustomDataset(
        data_root=str(folder), data_prefix='classes', test_mode=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmpretrain.Resize', scale=(32, 32)),
                  dict(type='mmpretrain.PackInputs')])


class Known(BaseModel):
    """Gives the prediction that the test wrote down, in the toolbox's own data sample."""

    def __init__(self, predict):
        super().__init__()
        self.predict, self.seen = predict, []

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and not self.training and not torch.is_grad_enabled()
        assert isinstance(inputs, list) and len(inputs) == 1
        self.seen.append(data_samples[0].get('img_id'))
        self.predict(data_samples[0])
        return data_samples


def _two_boxes(sample):
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[30., 15., 70., 55.], [100., 60., 150., 100.]]), labels=torch.tensor([1, 0]),
        scores=torch.tensor([.75, .2]))


def _read(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def _corner(column):
    return sheet.GAP + column * (sheet.SIDE + sheet.GAP)


def _has_box(pixels, box, scale, colour, left, top):
    x1, y1, x2, y2 = (round(scale * side) for side in box)
    lines = [pixels[top + y2 - 1, left + x1:left + x2 + 1], pixels[top + y1:top + y2 + 1, left + x2 - 1]]
    return all((line == colour).all() for line in lines)


def test_boxes(boxes, tmp_path):
    model = Known(_two_boxes).train()
    path = prediction_sheet(model, boxes, tmp_path / 'sheet.png', num_images=2)
    assert path == tmp_path / 'sheet.png'
    assert model.seen == [0, 4], 'the first and the last'
    pixels = _read(path)
    # Two images of 400 x 240, each twice, in one row.
    assert pixels.shape == (sheet.HEADER + 240 + 2 * sheet.GAP, sheet.GAP + 4 * (400 + sheet.GAP), 3)
    circle, square = drawing.class_colour(0), drawing.class_colour(1)
    for column in range(4):
        left = _corner(column)
        panel = pixels[sheet.HEADER:sheet.HEADER + 240, left:left + 400]
        if column % 2 == 0:  # images 0 and 4 have a circle; crowds are not drawn
            assert _has_box(pixels, BOX, 2, circle, left, sheet.HEADER)
            assert not (panel == square).all(2).any()
        else:
            assert _has_box(pixels, [30., 15., 70., 55.], 2, square, left, sheet.HEADER)
            assert not (panel == circle).all(2).any(), 'a box below the threshold is drawn'
        # Around the box and its label the image is as it was.
        assert (panel[120:] == GREY).all() and (panel[:, 200:] == GREY).all()
        # The label stands in the panel and is made of the class colour with text.
        assert len(np.unique(panel[:40].reshape(-1, 3), axis=0)) > 3
        # The header stands above the panel.
        assert (pixels[:sheet.HEADER, left:left + 140].min(2) < 100).any()

    low = _read(prediction_sheet(model, boxes, tmp_path / 'low.png', num_images=2, score_thr=.1))
    assert _has_box(low, [100., 60., 150., 100.], 2, circle, _corner(1), sheet.HEADER)


def test_tall_images_and_rows(boxes, tmp_path):
    model = Known(_two_boxes)
    pixels = _read(prediction_sheet(model, boxes, tmp_path / 'sheet.png', num_images=99))
    assert model.seen == [0, 1, 2, 3, 4]
    # Rows: two wide, a tall beside a wide, a wide alone.
    assert pixels.shape[0] == sheet.HEADER + 240 + 400 + 240 + 3 * 2 * sheet.GAP
    second = sheet.HEADER + 240 + 2 * sheet.GAP
    assert (pixels[second + 4 * 50 - 1, _corner(0) + 4 * 20:_corner(0) + 199] == drawing.class_colour(0)).all()
    # The box reaches beyond the image, which is 200 wide here; the sheet stays white there.
    assert (pixels[second:second + 400, _corner(0) + 200:_corner(1)] == 255).all()
    assert _has_box(pixels, BOX, 2, drawing.class_colour(1), _corner(2), second)


def test_the_choice_is_even_and_repeatable(boxes, tmp_path):
    model = Known(_two_boxes)
    first = prediction_sheet(model, boxes, tmp_path / 'a.png', num_images=3)
    assert model.seen == [0, 2, 4]
    assert prediction_sheet(model, boxes, tmp_path / 'b.png', num_images=3).read_bytes() == first.read_bytes()
    model.seen.clear()
    prediction_sheet(model, boxes, tmp_path / 'c.png', num_images=1)
    assert model.seen == [0]


def test_no_box_at_all(boxes, tmp_path):
    def nothing(sample):
        sample.pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), scores=torch.zeros(0))
    pixels = _read(prediction_sheet(Known(nothing), boxes, tmp_path / 'sheet.png', num_images=1))
    bottom = sheet.HEADER + 240
    assert (pixels[sheet.HEADER:bottom, _corner(1):_corner(1) + 400] == GREY).all()
    # It is said, under the prediction only.
    assert (pixels[bottom:, _corner(1):] == sheet.NEUTRAL).all(2).any()
    assert (pixels[bottom:, :_corner(1)] == 255).all()


def test_segmentation(maps, tmp_path):
    def all_things(sample):
        sample.pred_sem_seg = PixelData(data=torch.ones(1, *sample.ori_shape, dtype=torch.long))
    pixels = _read(prediction_sheet(Known(all_things), maps, tmp_path / 'sheet.png', num_images=1))
    true, predicted = (pixels[sheet.HEADER:, _corner(column):_corner(column) + 400] for column in range(2))
    thing, ground = np.array([250, 30, 30]), np.array([0, 0, 0])

    def near(region, colour):  # between the image and the colour, the colour stronger
        return np.abs(region - (.45 * GREY + .55 * colour)).max() <= 1

    assert near(predicted[:240], thing)
    # The loaded map is in the size of the image: twice that on the sheet.
    assert near(true[20:100, 40:80], thing)
    assert (true[20:100, 80:100] == GREY).all(), 'the unlabelled region is tinted'
    assert near(true[110:240], ground) and near(true[:240, 110:], ground)
    # Under each panel the classes that it holds, in their colours.
    under = slice(240, None)
    assert (true[under] == thing).all(2).any() and (true[under] == ground).all(2).sum() > 500
    assert (predicted[under] == thing).all(2).any() and (predicted[under] == ground).all(2).sum() < 500


def test_classification(labelled, tmp_path):
    assert labelled.metainfo['classes'] == ('circle', 'square') or labelled.CLASSES == ['circle', 'square']

    def always_circle(sample):
        sample.set_pred_label(0).set_pred_score(torch.tensor([.9, .1]))
    # In the order of the folders: circle three times, square twice.
    pixels = _read(prediction_sheet(Known(always_circle), labelled, tmp_path / 'sheet.png'))
    rows = [sheet.HEADER]
    for height in (400, 240):
        rows.append(rows[-1] + height + sheet.LINE + 2 * sheet.GAP)
    assert pixels.shape == (rows[-1], sheet.GAP + 4 * (400 + sheet.GAP), 3)
    below = [pixels[rows[0] + 240:rows[1], _corner(column):_corner(column) + 412] for column in (0, 2, 3)]
    below.append(pixels[rows[1] + 240:, _corner(0):_corner(0) + 412])
    right = [(region == sheet.RIGHT).all(2).any() for region in below]
    wrong = [(region == sheet.WRONG).all(2).any() for region in below]
    assert right[0] and not wrong[0]
    assert wrong[2:] == [True, True] and right[2:] == [False, False]


def test_images_that_lie_in_memory(tmp_path):
    """As CIFAR's: RGB arrays in the annotations."""
    class Arrays(mmengine.dataset.BaseDataset):
        METAINFO = dict(classes=NAMES)

        def load_data_list(self):
            return [dict(img=np.full((32, 32, 3), (200, 40, 10), np.uint8), gt_label=1)]

    dataset = Arrays(ann_file='', pipeline=[dict(type='mmpretrain.PackInputs')], test_mode=True)

    def square(sample):
        sample.set_pred_label(1)
    pixels = _read(prediction_sheet(Known(square), dataset, tmp_path / 'sheet.png'))
    assert (pixels[sheet.HEADER:sheet.HEADER + 400, sheet.GAP:sheet.GAP + 400] == (200, 40, 10)).all()
    assert (pixels == sheet.RIGHT).all(2).any()


def test_what_cannot_be_drawn_is_reported(boxes, tmp_path):
    with pytest.raises(InputError, match='DetDataSample.*gt_instances.* is no detection'):
        prediction_sheet(Known(lambda sample: None), boxes, tmp_path / 'sheet.png')
    with pytest.raises(InputError, match='no image'):
        prediction_sheet(Known(_two_boxes), boxes.get_subset([]), tmp_path / 'sheet.png')
    assert not (tmp_path / 'sheet.png').exists()


DETECTOR = dict(
    type='mmdet.RetinaNet', data_preprocessor=dict(type='mmdet.DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=4, frozen_stages=1, out_indices=(1, 2, 3)),
    neck=dict(type='mmdet.FPN', in_channels=[8, 16, 32], out_channels=8, num_outs=3),
    bbox_head=dict(type='mmdet.RetinaHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1,
                   anchor_generator=dict(type='mmdet.AnchorGenerator', ratios=[1.], octave_base_scale=4,
                                         scales_per_octave=1, strides=[8, 16, 32])),
    test_cfg=dict(nms_pre=50, score_thr=0., nms=dict(type='nms', iou_threshold=.5), max_per_img=5))
SEGMENTER = dict(
    type='mmseg.EncoderDecoder', data_preprocessor=dict(type='mmseg.SegDataPreProcessor'),
    backbone=dict(type='mmseg.ResNetV1c', depth=18, base_channels=4),
    decode_head=dict(type='mmseg.FCNHead', in_channels=32, channels=8, in_index=3, num_classes=2, num_convs=1,
                     norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
CLASSIFIER = dict(
    type='mmpretrain.ImageClassifier',
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=2),
    backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=4, out_indices=(3, )),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=32, topk=(1, )))


@pytest.mark.parametrize('config, dataset', [
    (DETECTOR, 'boxes'), (SEGMENTER, 'maps'), (CLASSIFIER, 'labelled')])
def test_real_models_are_left_as_they_were(config, dataset, request, tmp_path):
    importlib.import_module(config['type'].split('.')[0] + '.models')
    dataset = request.getfixturevalue(dataset)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config['type'].split('.')[0]):
        model = mmengine.MODELS.build(mmengine.ConfigDict(config))
    model.train()  # with frozen parts in eval mode, in the detector
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    with DefaultScope.overwrite_default_scope(config['type'].split('.')[0]):
        path = prediction_sheet(model, dataset, tmp_path / 'sheet.png', num_images=2, score_thr=0.)

    assert Image.open(path).width > 800
    assert [module.training for module in model.modules()] == modes
    if config is DETECTOR:
        assert True in modes and False in modes
        assert (_read(path)[sheet.HEADER:, _corner(1):_corner(1) + 400] != GREY).any()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_states_are_put_back_even_after_a_failure(boxes, tmp_path):
    def fail(sample):
        random.random(), np.random.rand(), torch.rand(1)
        raise RuntimeError('the model fails')
    model = Known(fail).train()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match='the model fails'):
        prediction_sheet(model, boxes, tmp_path / 'sheet.png')
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.training


def test_a_wrapped_model(boxes, tmp_path):
    class WithWeight(Known):
        def __init__(self, predict):
            super().__init__(predict)
            self.weight = torch.nn.Parameter(torch.zeros(1))

    bare = WithWeight(_two_boxes)
    expected = prediction_sheet(bare, boxes, tmp_path / 'a.png', num_images=2).read_bytes()
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        wrapped = MMDistributedDataParallel(bare)
        assert prediction_sheet(wrapped, boxes, tmp_path / 'b.png', num_images=2).read_bytes() == expected
    finally:
        torch.distributed.destroy_process_group()


def test_no_toolbox_is_loaded():
    code = ('import sys, mobileode_mm.engine; '
            'import mobileode_mm.analysis.curves, mobileode_mm.analysis.inside, mobileode_mm.analysis.sheet; '
            'assert not {"mmdet", "mmseg", "mmpretrain"} & set(sys.modules)')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
