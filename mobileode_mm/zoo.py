"""The networks by name, as plain PyTorch modules: no config, no toolbox."""

import difflib
import fnmatch
import os
from collections import OrderedDict
from collections.abc import Sequence

from mmengine.model import initialize
from mmengine.runner import load_state_dict
from torch import Tensor, nn

from .backbones import EDGE, Deployable, MobileNetV1, MobileODEV1, MobileODEV2, MobileViTODE, StagedBackbone
from .checkpoints.matching import check_checkpoint
from .checkpoints.reading import read_checkpoint
from .errors import InputError

# The release's settings: SiLU at 256 px, ReLU for CIFAR. MobileNetV1 knows no image size and has ReLU throughout.
_LARGE = dict(input_size=256, act_cfg=dict(type='SiLU'))
_CIFAR = dict(strides=(1, 1, 1, 2, 2, 2))
_NETWORKS = {
    'mobilenet_v1': (MobileNetV1, {}),
    'mobilenet_v1_cifar': (MobileNetV1, _CIFAR),
    'mobileode_v1': (MobileODEV1, _LARGE),
    'mobileode_v1_anytime': (MobileODEV1, dict(_LARGE, anytime=dict(steps=(1, 2, 3)))),
    'mobileode_v1_cifar': (MobileODEV1, dict(_CIFAR, input_size=32)),
    'mobileode_v1_edge': (MobileODEV1, _LARGE | EDGE),
    'mobileode_v2': (MobileODEV2, _LARGE),
    'mobileode_v2_cifar': (MobileODEV2, dict(_CIFAR, input_size=32)),
    'mobilevit_ode': (MobileViTODE, _LARGE),
}


class Classifier(Deployable):
    """Backbone, mean over the positions, dropout 0.1, linear layer.

    The state dict has the names of mmpretrain's ``ImageClassifier`` with a linear head: ``backbone.*``,
    ``head.fc.*``. Source of head and dropout: the released program's networks.

    Args:
        backbone: Its last output is classified.
        num_classes: 0 leaves the head out: the pooled features are returned.

    Attributes:
        num_features: Width of the pooled features.
    """

    def __init__(self, backbone: StagedBackbone, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.num_features = backbone.out_channels[-1]
        self.backbone = backbone
        self.head = nn.Identity()
        if num_classes:
            fc = nn.Linear(self.num_features, num_classes)
            nn.init.normal_(fc.weight, std=0.01)
            nn.init.zeros_(fc.bias)
            self.head = nn.Sequential(OrderedDict(dropout=nn.Dropout(0.1), fc=fc))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to the logits (B, num_classes), or to the features (B, num_features)."""
        return self.head(self.backbone(x)[-1].mean((2, 3)))


def list_models(filter: str = '') -> list[str]:
    """Names for :func:`create_model` that contain ``filter``, which may hold the wildcards of a shell."""
    return fnmatch.filter(_NETWORKS, f'*{filter}*')


def create_model(name: str,
                 pretrained: str | os.PathLike | None = None,
                 num_classes: int = 1000,
                 *,
                 features_only: bool = False,
                 out_indices: Sequence[int] | None = None,
                 **kwargs) -> nn.Module:
    """Build a network by name.

    Args:
        name: One of :func:`list_models`. Names that end in ``_cifar`` are for 32 px, the others for 256 px; any size of
            image can be given to each.
        pretrained: Checkpoint of a classifier trained with mmpretrain or converted from the released program, or of
            anything else that has this backbone, if the head is left out. It is read without running code that it may
            contain; grids of another image size are resampled. Steps, widths and kind of norm have to be those of the
            checkpoint. Strides and activations have to be so too, but leave no trace in it.
        num_classes: Outputs of the linear layer; 0 gives the pooled features.
        features_only: Return the backbone, which gives a tuple of feature maps, instead of a classifier.
        out_indices: With ``features_only``: the stages that are returned, 0 being the stem; default 1 to 5 (strides 2,
            4, 8, 16, 32, for CIFAR 1, 1, 2, 4, 8).
        **kwargs: For the backbone, in the place of the name's own; see :class:`MobileODEV1`.

    Returns:
        A :class:`Classifier` or, with ``features_only``, the backbone, whose ``out_channels`` and ``strides`` describe
        its outputs; in training mode.

    Raises:
        ValueError: The name is unknown, or an argument is out of its range.
        InputError: The checkpoint cannot be read, has another number of classes, or is of another network: fewer than
            95 % of the entries match.

    Example:
        >>> import torch
        >>> create_model('mobileode_v1_cifar', num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> create_model('mobileode_v2', features_only=True, out_indices=(3, 4, 5)).out_channels
        (256, 576, 1024)
    """
    if name not in _NETWORKS:
        nearest = difflib.get_close_matches(name.lower(), _NETWORKS, n=3, cutoff=0.4) or list_models()
        raise ValueError(f'there is no network named {name!r}; nearest: {", ".join(nearest)}')
    if pretrained is True:
        raise ValueError('pretrained=True: no weights are published for these networks; give the path of a checkpoint')
    if num_classes < 0:
        raise ValueError(f'num_classes={num_classes} is under 0; nearest legal: 0 (no linear layer)')
    if out_indices is not None and not features_only:
        raise ValueError('out_indices is for features_only=True: a classifier reads the last stage')
    network, settings = _NETWORKS[name]
    if features_only:
        num_classes = 0
        kwargs['out_indices'] = (1, 2, 3, 4, 5) if out_indices is None else out_indices
    backbone = network(**{**settings, **kwargs})
    # Not backbone.init_weights(), which prints a line for every parameter.
    initialize(backbone, backbone.init_cfg)
    model = Classifier(backbone, num_classes)
    if pretrained:
        _load(model, pretrained)
    return backbone if features_only else model


def _load(model: Classifier, path: str | os.PathLike) -> None:
    checkpoint = read_checkpoint(path)
    state = {name.removeprefix('module.'): value for name, value in checkpoint.get('state_dict', checkpoint).items()}
    parts = ('backbone.', 'head.fc.') if model.num_classes else ('backbone.', )
    state = {name: value for name, value in state.items() if name.startswith(parts)}
    classes = len(state.get('head.fc.bias', range(model.num_classes)))
    if model.num_classes and classes != model.num_classes:
        raise InputError(f'{path} has {classes} classes, but num_classes is {model.num_classes}. Give '
                         f'num_classes={classes}, or num_classes=0 and put a linear layer of your own on the features')
    check_checkpoint(model, dict(state_dict=state), path, 'test')
    load_state_dict(model, state)
