"""Backbones by the name that ``--model`` takes, and their arguments in each task."""
from ..backbones import EDGE
from ..errors import InputError

#: Of the released recipe.
_SILU = dict(act_cfg=dict(type='SiLU'))
#: At output stride 16: no stride in the last stage, which is dilated instead.
_STRIDE_16 = dict(out_indices=(4, 5), strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2))
#: Of detection: the maps of strides 16 and 32, with that of stride 8 in front where it is wanted.
_OURS = {
    name: dict(type=kind, sized=sized, options=options, detection=((3, ), (4, 5)), segmentation=_STRIDE_16,
               classification={})
    for name, kind, sized, options in (
        ('mobileode_v1', 'MobileODEV1', True, _SILU), ('mobileode_v1_edge', 'MobileODEV1', True, EDGE),
        ('mobileode_v2', 'MobileODEV2', True, _SILU), ('mobilenet_v1', 'MobileNetV1', False, _SILU))}
MODELS = {
    **_OURS,
    'mobilenet_v2': dict(
        type='MobileNetV2', sized=False, options={}, detection=((2, ), (4, 7)), classification={},
        segmentation=dict(out_indices=(4, 6), strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2))),
}
_SCOPES = dict(detection='mmdet', segmentation='mmseg', classification='mmpretrain')


def backbone(model: str, task: str, side: int, fine: bool = False) -> dict:
    """Config of a backbone.

    Args:
        model: Name in :data:`MODELS`.
        task: What it is for.
        side: Of the images, in pixels.
        fine: For detection: with the map of stride 8.
    """
    known = MODELS[model]
    config = dict(type=known['type'] if model in _OURS else f'{_SCOPES[task]}.{known["type"]}')
    if task == 'detection':
        finest, others = known['detection']
        config['out_indices'] = (*finest, *others) if fine else others
    else:
        config |= known[task]
    if known['sized']:
        config['input_size'] = side
    return config | known['options']


def check_model(model: str) -> None:
    """InputError where there is no such model."""
    if model not in MODELS:
        raise InputError(f'--model {model} is none of {", ".join(MODELS)}')
