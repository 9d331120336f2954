"""What `mobileode fit` chooses: splits, tiles, anchors."""
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image as Pillow

from mobileode_mm.data.formats import Image
from mobileode_mm.detection import tiling
from mobileode_mm.fit import anchors, splits, tiles
from mobileode_mm.fit import plan as plan_module
from mobileode_mm.fit.plan import fit_head, plan_classification, plan_detection, set_length
from mobileode_mm.fit.writing import config_text
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config


def boxes_of(sides, size=320, seed=0):
    """Boxes of these sides at random places of a square image."""
    rng = np.random.default_rng(seed)
    corners = np.stack([rng.uniform(0, size - side, 2) for side in sides])
    return np.concatenate([corners, corners + np.asarray(sides)[:, None]], 1)


def brute_force(boxes, config, size):
    """The same by mmdet's own anchors and IoU, all of them."""
    from mmdet.registry import TASK_UTILS
    from mmdet.structures.bbox import bbox_overlaps
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmdet'):
        generator = TASK_UTILS.build(config)
    maps = [(-(-size[0] // stride[1]), -(-size[1] // stride[0])) for stride in generator.strides]
    grid = torch.cat(generator.grid_priors([tuple(map(int, side)) for side in maps], device='cpu'))
    return bbox_overlaps(torch.as_tensor(boxes, dtype=grid.dtype), grid).amax(1).numpy()


def test_overlaps_are_those_of_all_of_mmdets_anchors():
    boxes = boxes_of(np.geomspace(8, 300, 60))
    boxes[:, 2] = boxes[:, 0] + (boxes[:, 2] - boxes[:, 0]) * 0.6
    config = anchors.generator([16, 32, 64], [20, 50, 120], [50, 120, 250])
    np.testing.assert_allclose(anchors.best_overlaps(boxes, config, (320, 320)), brute_force(boxes, config, (320, 320)),
                               atol=1e-5)


def test_fitted_anchors_reach_more_than_the_defaults():
    boxes = boxes_of(np.geomspace(14, 60, 200))
    scales = [32, 83, 133, 184, 235, 285, 336]
    default = anchors.generator([16, 32, 64, 107, 160, 320], scales[:-1], scales[1:])
    fitted = anchors.fit(boxes, [8, 16, 32, 64, 107, 320], (320, 320))
    before, after = (anchors.reached(boxes, config, (320, 320)) for config in (default, fitted))
    assert before < 0.75 and after > 0.95
    assert all(low < high for low, high in zip(fitted['min_sizes'], fitted['max_sizes']))


def test_boxes_of_one_size_have_anchors_too():
    boxes = boxes_of([300] * 5)
    assert anchors.reached(boxes, anchors.fit(boxes, [16, 32, 64, 107, 160, 320], (320, 320)), (320, 320)) == 1


def image_of(tmp_path, name, size, boxes):
    path = tmp_path / f'{name}.png'
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return Image(path, size, np.asarray(boxes, float).reshape(-1, 4), np.zeros(len(boxes), int),
                 np.zeros(len(boxes), bool))


def test_tiles_of_16_bits_are_what_training_sees(tmp_path):
    grey = np.random.default_rng(0).integers(0, 2**16, (20, 30), np.uint16)
    Pillow.fromarray(grey).save(tmp_path / 'grey.png')
    assert np.array_equal(np.asarray(tiles.read(tmp_path / 'grey.png')), np.stack([grey >> 8] * 3, -1))


def test_tiles_cover_an_image_and_keep_what_is_seen_of_a_box(tmp_path):
    image = image_of(tmp_path, 'large', (100, 150), [(10, 10, 30, 30), (60, 0, 68, 20), (100, 60, 140, 90)])
    folder = tmp_path / 'tiles'
    folder.mkdir()
    cut = tiles.cut([image], 64, 43, folder)
    assert len(cut) == 2 * 3 and all(tile.size == (64, 64) for tile in cut)
    whole = np.asarray(Pillow.open(image.path))
    seen = np.zeros((100, 150), bool)
    for tile in cut:
        left, top = map(int, tile.path.stem.split('_')[1:])
        np.testing.assert_array_equal(np.asarray(Pillow.open(tile.path)), whole[top:top + 64, left:left + 64])
        seen[top:top + 64, left:left + 64] = True
        for box in tile.boxes:
            assert 0 <= box[0] < box[2] <= 64 and 0 <= box[1] < box[3] <= 64
    assert seen.all()
    first = next(tile for tile in cut if tile.path.stem.endswith('_0_0'))
    # Of the second box a half is seen, and kept; the third is not in this tile at all.
    assert first.boxes.tolist() == [[10, 10, 30, 30], [60, 0, 64, 20]]


def test_a_large_image_is_parted_where_there_are_few(tmp_path):
    image = image_of(tmp_path, 'one', (100, 200), [(0, 0, 20, 20), (170, 50, 190, 70)])
    train, val, how = splits.part([image], tmp_path)
    assert [one.size for one in train] == [(100, 160)] and [one.size for one in val] == [(100, 40)]
    assert train[0].boxes.tolist() == [[0, 0, 20, 20]] and val[0].boxes.tolist() == [[10, 50, 30, 70]]
    assert 'too few images' in how


def test_copies_of_an_image_stay_together(tmp_path):
    images = [Image(tmp_path / f'street{number}_jpg.rf.{copy}.jpg', (10, 10)) for number in range(10) for copy in 'abc']
    train, val, how = splits.split_off(images, 0)
    assert len(train) + len(val) == 30 and 6 <= len(val) <= 9
    assert not {splits.group_of(image.path) for image in train} & {splits.group_of(image.path) for image in val}
    assert '10 in all' in how
    again = splits.split_off(images[::-1], 0)
    assert {image.path for image in again[1]} == {image.path for image in val}, 'the seed alone decides'


def test_frames_of_a_film_stay_together_and_single_images_do_not(tmp_path):
    frames = [Image(tmp_path / f'film{film}_{frame:04}.jpg', (10, 10)) for film in 'abcdefgh' for frame in range(4)]
    _, val, _ = splits.split_off(frames, 1)
    assert len({splits.group_of(image.path) for image in val}) * 4 == len(val)
    single = [Image(tmp_path / f'IMG_{number}.jpg', (10, 10)) for number in range(20)]
    _, val, how = splits.split_off(single, 1)
    assert len(val) == 4 and 'single images' in how


def test_small_boxes_in_large_images_are_tiled_with_a_fine_map(tmp_path):
    small = image_of(tmp_path, 'aerial', (1000, 1200), boxes_of(np.geomspace(15, 70, 80), 1000))
    plan = plan_detection([small], ('tree', ), 'mobileode_v1', None)
    assert plan.tiling.side == plan.side == 192 and plan.tiling.scale == 1 and plan.tiling.overlap >= 60
    fit_head(plan, [small])
    assert plan.fine
    assert {choice.name for choice in plan.choices} == {'network', 'tiles', 'finest map'}
    large = image_of(tmp_path, 'street', (480, 640), boxes_of([150, 200, 250], 480))
    plan = plan_detection([large], ('car', ), 'mobileode_v1', None)
    fit_head(plan, [large])
    assert plan.tiling is None and not plan.fine


@pytest.mark.parametrize('limit, batch', [('max', 16), (str(2**30), 3), (None, 16)])
def test_a_container_has_no_more_memory_than_it_may_take(limit, batch, tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip('the memory that counts is the GPU\'s')
    if limit:
        (tmp_path / 'memory.max').write_text(limit + '\n')
    monkeypatch.setattr(plan_module, '_LIMITS', [str(tmp_path / 'memory.max')])
    monkeypatch.setattr(plan_module, '_free_of_machine', lambda: 2.0**34)
    plan = plan_classification([image_of(tmp_path, 'large', (400, 400), np.zeros((0, 4)))], ('a', 'b'), 'mobileode_v1',
                               320)
    set_length(plan, 100, None, None)
    assert plan.batch == batch


@pytest.mark.parametrize('tiles_of, epochs, mosaic', [(64, 250, True), (64, 249, False), (63, 900, False)])
def test_mosaics_where_the_training_is_long_enough(tiles_of, epochs, mosaic, tmp_path):
    image = image_of(tmp_path, 'aerial', (1000, 1200), boxes_of(np.geomspace(15, 70, 80), 1000))
    plan = plan_detection([image], ('tree', ), 'mobileode_v1', None)
    fit_head(plan, [image])
    set_length(plan, tiles_of, epochs, 16)
    assert ('mosaics' in next(choice.value for choice in plan.choices if choice.name == 'augmentation')) == mosaic
    (tmp_path / 'own.py').write_text(config_text(plan, 'own', {'train': tmp_path / 'train.json'}, [], 0))
    steps = load_config(tmp_path / 'own.py').train_dataloader.dataset.pipeline
    kinds = [step.type for step in steps]
    assert ('CachedMosaic' in kinds) == mosaic and kinds[-1] == 'PackDetInputs'
    named = {step.type: step for step in steps}
    assert named['RandomCrop'].crop_size == named['Pad'].size == (192, 192)
    assert named['RandomResize'].scale == ((384, 384) if mosaic else (192, 192))
    assert not mosaic or named['CachedMosaic'].img_scale == (192, 192)


def test_backends_are_beside_the_local_one(tmp_path):
    plan = plan_classification([image_of(tmp_path, 'image', (64, 64), boxes_of([20], 64))], ('a', 'b'), 'mobileode_v1',
                               None)
    set_length(plan, 64, 7, 16)
    (tmp_path / 'own.py').write_text(config_text(plan, 'own', {'train': tmp_path / 'train.txt'},
                                                 ['TensorboardVisBackend'], 0))
    backends = load_config(tmp_path / 'own.py').visualizer.vis_backends
    assert [backend.type for backend in backends] == ['LocalVisBackend', 'TensorboardVisBackend']


@pytest.mark.parametrize('side', [192, 224, 320])
@pytest.mark.parametrize('sides, fine', [([14, 20, 30], True), ([90, 120, 150], False)])
def test_anchors_stand_where_the_positions_of_the_maps_do(side, sides, fine, tmp_path):
    image = image_of(tmp_path, 'image', (side, side), boxes_of(sides * 9, side))
    plan = plan_detection([image], ('tree', ), 'mobileode_v1', side)
    fit_head(plan, [image])
    assert plan.fine == fine
    (tmp_path / 'config.py').write_text(config_text(
        plan, 'image', dict.fromkeys(('train', 'val', 'test'), tmp_path / 'x.json'), (), 0))
    cfg = load_config(tmp_path / 'config.py')
    with config_scope(cfg), torch.no_grad():
        model = build_model(cfg).eval()
        maps, _ = model(torch.zeros(1, 3, side, side), mode='tensor')
    for scores, (stride, _) in zip(maps, model.bbox_head.prior_generator.strides, strict=True):
        assert scores.shape[-1] * stride == pytest.approx(side, rel=1e-5)


@pytest.mark.parametrize('length', [50, 64, 65, 100, 641])
def test_tiles_of_an_inference_cover_every_pixel(length):
    starts = tiling.starts(length, 64, 16)
    assert starts[0] == 0 and (starts[-1] + 64 == length or length <= 64)
    assert all(0 < second - first <= 64 - 16 for first, second in pairwise(starts))


def test_what_tiles_find_is_put_together():
    nms = dict(type='nms', iou_threshold=0.5)
    # Tiles of 64 px at 0 and 48 in an image of 112 px: a box at 52 to 62 is whole in both; the one at 40 to 70 is
    # larger than the overlap and cut in the first; one at the image's own edge stays.
    found = [InstanceData(bboxes=torch.tensor([[52., 10, 62, 20], [40, 30, 64, 60], [0, 0, 10, 10]]),
                          scores=torch.tensor([0.9, 0.6, 0.7]), labels=torch.tensor([0, 0, 0])),
             InstanceData(bboxes=torch.tensor([[4., 10, 14, 20], [0, 40, 9, 50], [54, 0, 64, 9]]),
                          scores=torch.tensor([0.8, 0.5, 0.4]), labels=torch.tensor([0, 0, 1]))]
    merged = tiling.merge(found, [(0, 0), (0, 48)], (64, 112), 64, 16, nms, 100)
    assert merged.bboxes.tolist() == [[52, 10, 62, 20], [0, 0, 10, 10], [40, 30, 64, 60], [102, 0, 112, 9]]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.4])
    assert len(tiling.merge(found, [(0, 0), (0, 48)], (64, 112), 64, 16, nms, 2)) == 2


def test_cut_pads_what_lies_beyond_the_image():
    image = torch.arange(2 * 3 * 4.).view(2, 3, 4)
    (batch, ) = tiling.cut(image, [(0, 0)], 5)
    assert batch.shape == (1, 2, 5, 5)
    assert torch.equal(batch[0, :, :3, :4], image) and batch[0, :, 3:].sum() == 0 == batch[0, :, :, 4:].sum()


