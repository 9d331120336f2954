"""The tables of networks: MobileODE at several widths and steps beside its peers, in three tasks."""
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec

from mmengine.config import Config

from mmodeconf.models.classifier import model as classifier
from mmodeconf.models.deeplabv3 import model as deeplabv3
from mmodeconf.models.ssdlite import model as ssdlite

from .counting import Complexity
from .from_config import count_config
from .operators import Cost

DEFINITIONS = '''\
MACs: multiply-adds of convolutions and matrix products. FLOPs: floating-point operations, two for each MAC and those of
everything else (norms, activations, sums, pooling, resizing). Activations: values that convolutions and matrix products
put out. One image, eval mode, from the pixels to the heads' maps; parameters that this pass does not read (an
auxiliary head's) are left out.'''
#: For each task: toolbox, folder of its parts here, side of the image, the rest of the model.
TASKS = {
    'Classifier, 1000 classes': ('mmpretrain', 'classification', 256, classifier),
    'SSDLite, 80 classes': ('mmdet', 'detection', 320, ssdlite),
    'DeepLabV3, 21 classes': ('mmseg', 'segmentation', 512, deeplabv3),
}
CLASSIFIER, DETECTOR, SEGMENTOR = TASKS


@dataclass(frozen=True)
class Network:
    """A row of the tables.

    Attributes:
        name: As printed.
        backbones: Config of the backbone for each task that it is fit for.
        needs: Package without which it cannot be built.
    """
    name: str
    backbones: dict[str, dict] = field(repr=False)
    needs: str = 'mmengine'

    @property
    def is_available(self) -> bool:
        return find_spec(self.needs) is not None


def networks() -> list[Network]:
    """All rows, in the order of the tables."""
    return [*_mobileode('MobileODEV1', 'MobileODE V1'), *_mobileode('MobileODEV2', 'MobileODE V2'), *_peers()]


def count_network(network: Network, task: str) -> Complexity:
    """Count a network in a task; see :func:`count_config`."""
    scope, parts, side, model = TASKS[task]
    import_module(f'mobileode_mm.{parts}')
    # Not by merging: base configs are shared, and builders write into what they are given.
    cfg = Config(copy.deepcopy(dict(default_scope=scope, model=dict(model, backbone=network.backbones[task]))))
    return count_config(cfg, (side, side))[0]


def _mobileode(kind: str, name: str) -> Iterator[Network]:
    dilated = dict(out_indices=(4, 5), strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4))
    for width, steps in ((0.5, 3), (0.75, 3), (1.0, 1), (1.0, 3), (1.0, 10), (1.5, 3)):
        common = dict(type=kind, widen_factor=width, num_steps=steps, act_cfg=dict(type='SiLU'))
        yield Network(f'{name}, width {width:g}, L = {steps}', {
            CLASSIFIER: dict(common, input_size=256),
            DETECTOR: dict(common, input_size=320, out_indices=(4, 5)),
            SEGMENTOR: dict(common, input_size=512, **dilated),
        })


def _peers() -> Iterator[Network]:
    # In the tasks, the very backbones of this project's configs; indices are those of the maps of strides 16 and 32.
    yield Network('MobileNetV1', {
        CLASSIFIER: dict(type='MobileNetV1'),
        DETECTOR: dict(type='MobileNetV1', out_indices=(4, 5)),
        SEGMENTOR: dict(type='MobileNetV1', out_indices=(4, 5), strides=(2, 1, 2, 2, 1, 1),
                        dilations=(1, 1, 1, 1, 2, 4)),
    })
    yield Network('MobileNetV2', {
        CLASSIFIER: dict(type='mmpretrain.MobileNetV2'),
        DETECTOR: dict(type='mmdet.MobileNetV2', out_indices=(4, 7)),
        SEGMENTOR: dict(type='mmseg.MobileNetV2', out_indices=(4, 6), strides=(1, 2, 2, 1, 1, 1, 1),
                        dilations=(1, 1, 1, 2, 2, 4, 4)),
    })
    for arch, indices in (('small', (8, 12)), ('large', (12, 16))):
        yield Network(f'MobileNetV3-{arch.capitalize()}', {
            CLASSIFIER: dict(type='mmpretrain.MobileNetV3', arch=arch),
            DETECTOR: dict(type='mmpretrain.MobileNetV3', arch=arch, out_indices=indices),
            SEGMENTOR: dict(type='mmseg.MobileNetV3', arch=arch, out_indices=indices),
        })
    for width in (0.5, 1.0):
        common = dict(type='mmpretrain.ShuffleNetV2', widen_factor=width)
        yield Network(f'ShuffleNetV2 {width:.1f}x', {CLASSIFIER: common, DETECTOR: dict(common, out_indices=(1, 3))})
    common = dict(type='mmpretrain.EfficientNet', arch='b0')
    yield Network('EfficientNet-B0', {CLASSIFIER: common, DETECTOR: dict(common, out_indices=(4, 6))})
    common = dict(type='mmpretrain.TIMMBackbone', model_name='ghostnet_100', features_only=True)
    yield Network('GhostNet 1.0x (timm)', {
        CLASSIFIER: dict(type='mmpretrain.TIMMBackbone', model_name='ghostnet_100'),
        DETECTOR: dict(common, out_indices=(3, 4)),
    }, needs='timm')


def tables() -> list[str | dict]:
    """MobileODE beside its peers, one table a task; a peer whose package is absent is named below them.

    Returns:
        Parts, as :func:`~benchmarks.output.markdown` takes them.
    """
    parts: list[str | dict] = []
    left_out: list[str] = []
    for task, (_, _, side, _) in TASKS.items():
        rows = []
        for network in networks():
            if task not in network.backbones:
                continue
            if not network.is_available:
                left_out.append(f'{network.name} ({task}): {network.needs} is not installed')
                continue
            complexity = count_network(network, task)
            backbone = [stage for stage in complexity.stages if stage.name.startswith('backbone')]
            cost = sum((stage.cost for stage in backbone), Cost())
            rows.append([
                network.name, _millions(sum(stage.parameters for stage in backbone), 3), _millions(cost.macs),
                _millions(complexity.parameters, 3), _millions(complexity.cost.macs),
                _millions(complexity.cost.flops), _millions(complexity.cost.activations)])
            left_out += [f'{network.name} ({task}): operators of unknown cost, {", ".join(complexity.unknown)}'
                         ] if complexity.unknown else []
        head = ['network', 'backbone: parameters', 'backbone: MACs', 'parameters', 'MACs', 'FLOPs', 'activations']
        parts += [f'### {task}, {side}×{side} px', 'In millions.', dict(head=head, rows=rows)]
    return parts + [f'Not counted: {line}.' for line in left_out]


def _millions(number: int, digits: int = 1) -> str:
    return f'{number / 1e6:,.{digits}f}'
