"""Backbones by the name that ``--model`` takes, and their arguments in each task."""
from ..errors import InputError

#: Of the released recipe.
_SILU = dict(act_cfg=dict(type='SiLU'))
#: At output stride 16: no stride in the last stage, which is dilated instead.
_STRIDE_16 = dict(out_indices=(4, 5), strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2))
#: Of detection: the maps of strides 16 and 32, with that of stride 8 in front where it is wanted.
_OURS = {
    name: dict(type=kind, detection=((3, ), (4, 5)), segmentation=_STRIDE_16, classification={}, **extra)
    for name, kind, extra in (
        ('mobileode_v1', 'MobileODEV1', dict(sized=True)), ('mobileode_v2', 'MobileODEV2', dict(sized=True)),
        ('mobilenet_v1', 'MobileNetV1', dict(sized=False)))}
MODELS = {
    **_OURS,
    'mobilenet_v2': dict(
        type='MobileNetV2', sized=False, detection=((2, ), (4, 7)), classification={},
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

    Raises:
        InputError: There is no such model.
    """
    known = _known(model)
    ours = model in _OURS
    config = dict(type=known['type'] if ours else f'{_SCOPES[task]}.{known["type"]}')
    if task == 'detection':
        finest, others = known['detection']
        config['out_indices'] = (*finest, *others) if fine else others
    else:
        config |= known[task]
    if known['sized']:
        config['input_size'] = side
    return config | _SILU if ours else config


def kind(model: str) -> str:
    """The class's name of a backbone; InputError where there is no such model."""
    return _known(model)['type']


def _known(model: str) -> dict:
    if model not in MODELS:
        raise InputError(f'--model {model} is none of {", ".join(MODELS)}')
    return MODELS[model]
