"""``--tta``: predictions averaged over several views of each image."""
import copy

from mmengine.config import Config, ConfigDict
from mmengine.hooks import PrepareTTAHook

from ..errors import InputError
from .config import leaf_datasets, type_name

#: What averages in each toolbox, where the config has no ``tta_model``.
_MODELS = {
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='SegTTAModel'),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}
_FLIP = ('flip', 'flip_direction')


def use_tta(cfg: Config) -> tuple[PrepareTTAHook, str]:
    """Let the test data come in several views, as ``tta_pipeline`` of the config says; else with and without a flip.

    Returns:
        The hook that wraps the network as ``tta_model`` of the config says, and a line for the log.

    Raises:
        InputError: The toolbox is another, or the test pipeline does not end in a step that packs.
    """
    scope = cfg.get('default_scope')
    model = cfg.get('tta_model') or _MODELS.get(scope)
    if model is None:
        raise InputError(f'--tta: {cfg.filename} has no tta_model, and its default_scope {scope} no usual one')
    note = 'Test-time augmentation: tta_pipeline of the config'
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        pipeline = cfg.get('tta_pipeline')
        if pipeline is None:
            pipeline, note = _with_flips(cfg, dataset['pipeline']), (
                'Test-time augmentation: each image as it is and flipped, as the config has no tta_pipeline')
        dataset['pipeline'] = copy.deepcopy(pipeline)
    return PrepareTTAHook(ConfigDict(copy.deepcopy(dict(model)))), note


def _with_flips(cfg: Config, pipeline: list) -> list:
    *steps, pack = pipeline
    if not type_name(pack).startswith('Pack'):
        raise InputError(f'--tta: the test pipeline of {cfg.filename} ends in {type_name(pack)}, not in a step that '
                         'packs; write a tta_pipeline')
    if 'meta_keys' in pack:
        pack = {**pack, 'meta_keys': (*pack['meta_keys'], *(key for key in _FLIP if key not in pack['meta_keys']))}
    return [*steps, dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)], [pack]])]
