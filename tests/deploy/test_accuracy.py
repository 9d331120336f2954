"""The metrics of what computes a whole task, on data of a config."""
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileode_mm.apis import Inferencer
from mobileode_mm.deploy.accuracy import accuracy
from mobileode_mm.deploy.formats import run_of
from mobileode_mm.deploy.inputs import Images
from mobileode_mm.deploy.tasks import TASKS

ROOT = Path(__file__).parents[2]

def write_config(path, base, steps, *more):
    """A detector's config with a test set of one image, ``image.png``, beside it, and its boxes in ``boxes.json``."""
    data = dict(type='CocoDataset', data_root=f'{path.parent}/', ann_file='boxes.json', data_prefix=dict(img=''),
                metainfo=dict(classes=tuple('abcdefghij')), test_mode=True, pipeline=[
                    dict(type='LoadImageFromFile'), *steps,
                    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))])
    path.write_text('\n'.join([
        f"_base_ = '{base}'", f'test_dataloader = dict(dataset=dict(_delete_=True, **{data}))',
        f"test_evaluator = dict(_delete_=True, type='CocoMetric', metric='bbox', ann_file='{path.parent}/boxes.json')",
        *more]))


def write_boxes(path, inferencer, size, boxes, labels):
    annotations = [dict(id=number + 1, image_id=1, category_id=int(label) + 1, iscrowd=0,
                        bbox=[*map(float, box[:2]), *map(float, box[2:] - box[:2])],
                        area=float(np.prod(box[2:] - box[:2])))
                   for number, (box, label) in enumerate(zip(np.asarray(boxes), labels))]
    path.write_text(json.dumps(dict(
        images=[dict(id=1, file_name='image.png', width=size[0], height=size[1])], annotations=annotations,
        categories=[dict(id=number + 1, name=name) for number, name in enumerate(inferencer.classes)])))


@pytest.mark.parametrize('steps', [
    [dict(type='Resize', scale=(192, 192), keep_ratio=False)],
    [dict(type='Resize', scale=(192, 192), keep_ratio=True)],
    [dict(type='Resize', scale=(192, 192), keep_ratio=True), dict(type='Pad', size=(192, 192), pad_val=dict(img=114))],
], ids=['stretched', 'aspect kept', 'padded'])
@pytest.mark.parametrize('size', [None, (160, 160), (96, 288)], ids=str)
def test_of_a_file_of_another_size_than_the_pipelines(small_detector, tmp_path, steps, size):
    """The boxes are where they are on the photograph, whatever the file was given."""
    config, options, checkpoint, _ = small_detector
    pixels = np.full((200, 300, 3), 60, np.uint8)
    pixels[40:160, 90:240] = 250
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    write_config(tmp_path / 'one.py', config, steps)
    inferencer = Inferencer(tmp_path / 'one.py', checkpoint, 'cpu', cfg_options=options)
    write_boxes(tmp_path / 'boxes.json', inferencer, [300, 200], [np.array([90, 40, 240, 160])], [3])

    def run(image):
        """A file that finds the light rectangle."""
        assert size is None or image.shape[1:3] == size
        rows, columns = np.nonzero(image[0, ..., 0] > 155)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return [np.array([[box]], np.float32), np.array([[0.9]], np.float32), np.array([[3]])]

    metrics = accuracy(inferencer, run, Images(inferencer, 'test'), size)
    assert metrics['coco/bbox_mAP_75'] == pytest.approx(1)


@pytest.mark.parametrize('size', [None, (64, 64), (40, 120)], ids=str)
def test_of_a_segmentors_file_of_one_size(save_untrained, tmp_path, size):
    """The mask is that of the part that is no padding."""
    config = ROOT / 'configs/deeplabv3_mobileode_mini.py'
    options = {'model.backbone.widen_factor': 0.25, 'model.backbone.num_steps': 1}
    save_untrained(config, options, tmp_path / 'segmentor.pth', tuple('abcdefghijk'))
    pixels = np.full((120, 180, 3), 60, np.uint8)
    pixels[24:96, 36:135] = 250
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    Image.fromarray(np.uint8(pixels[..., 0] > 155)).save(tmp_path / 'mask.png')
    inferencer = Inferencer(config, tmp_path / 'segmentor.pth', 'cpu', cfg_options=options)
    dataset = inferencer.cfg.test_dataloader.dataset
    (tmp_path / 'list.txt').write_text('image\n')
    dataset.update(data_root='', ann_file=f'{tmp_path}/list.txt', img_suffix='.png', seg_map_suffix='.png',
                   data_prefix=dict(img_path=str(tmp_path), seg_map_path=str(tmp_path / 'masks')))
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'mask.png').rename(tmp_path / 'masks/image.png')
    metrics = accuracy(inferencer, lambda image: [np.uint8(image[..., 0] > 155)], Images(inferencer, 'test'), size)
    assert metrics['aAcc'] > 97


def test_of_a_detector_that_sees_tiles(small_detector, tmp_path, smooth_noise):
    """Data whose boxes are what the detector itself finds are found again: by tiles, as the toolbox does."""
    config, options, checkpoint, _ = small_detector
    smooth_noise.resize((300, 200), Image.BICUBIC).save(tmp_path / 'image.png')
    write_config(tmp_path / 'tiles.py', config, [dict(type='Resize', scale_factor=1.0)],
                 'model = dict(test_cfg=dict(tile=dict(size=128, overlap=32)))')
    inferencer = Inferencer(tmp_path / 'tiles.py', checkpoint, 'cpu', cfg_options=options)
    boxes, labels, scores = inferencer([str(tmp_path / 'image.png')])[0]
    sure = np.argsort(-np.asarray(scores))[:20]
    write_boxes(tmp_path / 'boxes.json', inferencer, [300, 200], boxes[sure], labels[sure])
    task = TASKS['detection'][-1](inferencer.model, inferencer.takes_rgb).eval()
    metrics = accuracy(inferencer, run_of(task), Images(inferencer, 'test'), (128, 128))
    assert metrics['coco/bbox_mAP'] == pytest.approx(1)
