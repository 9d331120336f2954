"""``--tta``: predictions averaged over several views of each image."""
import copy

from mmengine.config import Config, ConfigDict
from mmengine.hooks import PrepareTTAHook

from ..errors import InputError
from .config import leaf_datasets, most_boxes, type_name

_FLIP = ('flip', 'flip_direction')


def use_tta(cfg: Config) -> tuple[PrepareTTAHook, str]:
    """Let the test data come in several views, as ``tta_pipeline`` of the config says; else with and without a flip.

    Returns:
        The hook that wraps the network as ``tta_model`` of the config says, and a line for the log.

    Raises:
        InputError: The toolbox is another, or the test pipeline does not end in a step that packs.
    """
    model = cfg.get('tta_model') or _usual_model(cfg)
    note = 'Test-time augmentation: tta_pipeline of the config'
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        pipeline = cfg.get('tta_pipeline')
        if pipeline is None:
            pipeline, note = _with_flips(cfg, dataset['pipeline']), (
                'Test-time augmentation: each image as it is and flipped, as the config has no tta_pipeline')
        dataset['pipeline'] = copy.deepcopy(pipeline)
    return PrepareTTAHook(ConfigDict(copy.deepcopy(dict(model)))), note


def _usual_model(cfg: Config) -> dict:
    """What averages in each toolbox; boxes of all views are suppressed, and as many kept, as the detector's own."""
    scope = cfg.get('default_scope')
    if scope == 'mmseg':
        return dict(type='SegTTAModel')
    if scope == 'mmpretrain':
        return dict(type='AverageClsScoreTTA')
    if scope != 'mmdet':
        raise InputError(f'--tta: {cfg.filename} has no tta_model, and its default_scope {scope} no usual one')
    test_cfg = cfg.model.get('test_cfg') or {}
    test_cfg = test_cfg.get('rcnn') or test_cfg
    most = most_boxes(cfg)[1]
    return dict(type='DetTTAModel', tta_cfg=dict(
        nms=test_cfg.get('nms') or dict(type='nms', iou_threshold=0.5), max_per_img=100 if most is None else most))


def _with_flips(cfg: Config, pipeline: list) -> list:
    *steps, pack = pipeline
    if not type_name(pack).startswith('Pack'):
        raise InputError(f'--tta: the test pipeline of {cfg.filename} ends in {type_name(pack)}, not in a step that '
                         'packs; write a tta_pipeline')
    if 'meta_keys' in pack:
        pack = {**pack, 'meta_keys': (*pack['meta_keys'], *(key for key in _FLIP if key not in pack['meta_keys']))}
    return [*steps, dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)], [pack]])]
