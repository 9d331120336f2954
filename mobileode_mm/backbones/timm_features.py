"""timm's networks as backbones: the maps of the strides that a head wants, and their deploy form."""
import difflib
import functools
from collections.abc import Sequence
from importlib.util import find_spec

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import InputError


class NoSuchMapsError(InputError):
    """A network has no maps of the strides that are wanted."""


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """A network of timm without its classifier.

    One config serves every network: maps are chosen by their stride, not by the numbers of stages, and the widths of
    necks and heads follow from :attr:`out_channels`. ``mmpretrain.TIMMBackbone`` wants the numbers of the maps.

    Args:
        name: Of the network, as ``timm.list_models()`` has it.
        strides: Of the maps to return, from fine to coarse, such as ``(16, 32)``; default: the last map alone. Where
            the last ones are equal, as in ``(8, 8)``, the network dilates its convolutions instead of shrinking any
            further, and its last maps are returned.
        pretrained: Load timm's weights, which it fetches.
        init_cfg: Initialisation, MMEngine's; default: timm's own.
        **kwargs: Further arguments of ``timm.create_model``, such as ``drop_path_rate``.

    Attributes:
        out_channels: Channels of each output.
        strides: Downsampling of each output.

    Raises:
        InputError: timm is absent, or has no such network, or none that gives maps.
        NoSuchMapsError: The network has no maps of these strides, or cannot be dilated.

    Example:
        >>> from mobileode_mm.backbones import TimmFeatures
        >>> backbone = TimmFeatures('repvit_m0_9', strides=(16, 32))  # doctest: +SKIP
    """

    def __init__(self, name: str, strides: Sequence[int] | None = None, pretrained: bool = False,
                 init_cfg: dict | list | None = None, **kwargs):
        super().__init__(init_cfg)
        import_timm()
        wanted = None if strides is None else tuple(strides)
        self.network = _create(name, out_indices=choose_maps(name, wanted), pretrained=pretrained,
                               **_dilation(wanted), **kwargs)
        self.out_channels = tuple(self.network.feature_info.channels())
        self.strides = tuple(self.network.feature_info.reduction())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to the maps, each (B, C, H / stride, W / stride)."""
        return tuple(self.network(x))


def import_timm():
    """The module; InputError where it is absent."""
    if find_spec('timm') is None:
        raise InputError("networks of timm need timm: pip install 'mobileode-mm[timm]', or pip install timm")
    import timm
    return timm


@functools.lru_cache(maxsize=64)
def choose_maps(name: str, strides: tuple[int, ...] | None) -> tuple[int, ...]:
    """Numbers of a network's maps that have these strides, as for :class:`TimmFeatures`."""
    found = _create(name, pretrained=False, **_dilation(strides)).feature_info.reduction()
    if strides is None:
        return (len(found) - 1, )
    chosen = []
    for stride in dict.fromkeys(strides):
        number = strides.count(stride)
        of_it = [index for index, own in enumerate(found) if own == stride]
        if len(of_it) < number:
            raise NoSuchMapsError(f'{name} has maps of the strides {tuple(found)}: {strides} are wanted')
        chosen += of_it[-number:]
    return tuple(chosen)


def _dilation(strides: tuple[int, ...] | None) -> dict[str, int]:
    """What makes a network dilate, where strides are equal."""
    return dict(output_stride=strides[-1]) if strides and len(set(strides)) < len(strides) else {}


def _create(name: str, **kwargs) -> nn.Module:
    timm = import_timm()
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models())
        raise InputError(f'timm {timm.__version__} has no network {name!r}; nearest names: '
                         f'{", ".join(nearest) or "none"}')
    try:
        return timm.create_model(name, features_only=True, **kwargs)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:  # whichever a network says it by
        if 'output_stride' in kwargs:
            raise NoSuchMapsError(f'{name} cannot be dilated to output stride {kwargs["output_stride"]}') from error
        raise InputError(f'timm cannot make {name} with {kwargs}: {error}') from error


def merge_branches(network: nn.Module) -> None:
    """Add up the branches that timm's networks inside a network, in eval mode, have for their training; in place."""
    for parent, name, child in _timm_networks(network):
        from timm.utils import reparameterize_model
        setattr(parent, name, reparameterize_model(child))


def fold_timm(network: nn.Module) -> None:
    """Fold branches and batch norms of every network of timm inside a network in eval mode, in place.

    timm's batch norms may hold an activation, and its modules may run in another order than they stand in:
    mmcv's ``fuse_conv_bn`` would fold some of them wrongly. A traced graph tells which norm follows which convolution;
    what cannot be traced or folded becomes a constant scale and shift.
    """
    networks = _timm_networks(network)
    if not networks:
        return
    from timm.layers.norm_act import freeze_batch_norm_2d
    from torch.fx.experimental.optimization import fuse
    merge_branches(network)
    for parent, name, _ in networks:
        folded = getattr(parent, name)
        _part_activations(folded)
        try:
            folded = fuse(folded)
        except Exception:  # tracing runs code of any kind on stand-ins for maps: one that asks for their size fails
            pass
        setattr(parent, name, freeze_batch_norm_2d(folded).eval())


def _timm_networks(network: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Outermost modules of timm inside a network: parent, name, module."""
    found = []
    for name, child in network.named_children():
        if type(child).__module__.startswith('timm.'):
            found.append((network, name, child))
        else:
            found += _timm_networks(child)
    return found


def _part_activations(network: nn.Module) -> None:
    """Put timm's norms with an activation into two modules, of which the tracer knows the first."""
    from timm.layers import BatchNormAct2d
    for name, child in list(network.named_children()):
        if type(child) is BatchNormAct2d and child.affine and child.track_running_stats:
            norm = nn.BatchNorm2d(child.num_features, child.eps)
            norm.load_state_dict(child.state_dict())
            setattr(network, name, nn.Sequential(norm.to(child.weight), child.drop, child.act).eval())
        else:
            _part_activations(child)
