"""The variants of a comparison of whole detectors or segmentors, built from their configs."""

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mobileode_mm.errors import InputError
from mobileode_mm.ode.backends import ORDERS

from .. import ROOT
from .as_released import as_released
from .variants import (
    NAIVE,
    Case,
    Settings,
    Variant,
    backend_argument,
    compile_in_place,
    is_naive,
    paths_of,
    prepared,
    storage,
)
from .workloads import HALVES, ModuleWorkload, as_tuple, calibrate_norms

CONFIGS = dict(detector=('ssdlite_mobileode', 'peers/ssdlite_mobilenetv2'),
               segmentor=('deeplabv3_mobileode', 'peers/deeplabv3_mobilenetv2'))
SCOPES = dict(detector='mmdet', segmentor='mmseg')
# Candidates that reach the non-maximum suppression: untrained scores would give it nothing, or everything, to do.
CANDIDATES_PER_IMAGE = 300


class ModelWorkload(ModuleWorkload):
    """A detector or segmentor: whole prediction with decoding, or losses, backward pass and the optimizer's step.

    Half precision is trained on a GPU as ``--amp`` does it, by MMEngine's AmpOptimWrapper with a scaled loss.

    Args:
        model: The model.
        inputs: (B, 3, H, W), as the data preprocessor gives them.
        samples: The toolbox's data samples, with ground truth.
        train, dtype: As in :class:`ModuleWorkload`.
        optimizer: The config's ``optim_wrapper``; in training only.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, samples: list, train: bool,
                 dtype: torch.dtype = torch.float32, optimizer: dict | None = None):
        super().__init__(model, train, dtype)
        self.inputs, self.samples = inputs, samples
        if train and optimizer is not None:
            from mmengine.optim import build_optim_wrapper
            if dtype in HALVES and inputs.is_cuda:
                optimizer = dict(optimizer, type='AmpOptimWrapper', loss_scale='dynamic',
                                 dtype=str(dtype).removeprefix('torch.'))
            self._wrapper = build_optim_wrapper(model, optimizer)

    def step(self) -> None:
        if not self.is_training:
            with torch.no_grad():
                self.module.predict(self.inputs, self.samples)
            return
        with self._autocast, self._wrapper.optim_context(self.module):
            losses = self.module.loss(self.inputs, self.samples)
        self._wrapper.update_params(self.module.parse_losses(losses)[0])

    def probe(self) -> dict[str, Tensor]:
        """In inference the heads' maps: what follows them has no learned numbers, and a tie may go either way."""
        if not self.is_training:
            with torch.no_grad():
                maps = as_tuple(self.module(self.inputs, mode='tensor'))
            return {f'output {index}': value for index, value in enumerate(maps)}
        self._clear()
        with self._autocast:
            losses = self.module.loss(self.inputs, self.samples)
        loss, values = self.module.parse_losses(losses)
        loss.backward()
        return {f'loss {name}': value.detach() for name, value in values.items()} | self._learned()


def model_cases(settings: Settings, task: str, configs: Sequence[str],
                size: tuple[int, int] | None = None, steps: int | Sequence[int] | None = None) -> list[Case]:
    """Whole models, from the configs.

    Args:
        settings: Mode, paths, batch, type, device.
        task: ``detector`` or ``segmentor``.
        configs: Config files; ``FILE:naive`` has the solvers as released, ``FILE:BACKEND`` another backend of them.
        size: Height and width of the images; default 320×320 for detectors, 512×512 for segmentors.
        steps: Of the solvers of those networks that have a choice; as for ``use_steps``.

    Raises:
        InputError: A config cannot be read or is of another task, a batch is too small to train on, or a CUDA graph is
            asked for, which cannot hold predictions and losses: how many boxes there are depends on the data.
    """
    if 'graph' in settings.paths:
        raise InputError('a CUDA graph holds layers and backbones alone: leave "graph" out of --paths')
    if settings.train and settings.batch < 2:
        raise InputError('these models pool to one position, whose batch norm needs two values: train with --batch 2 '
                         'or more')
    size = size or ((320, 320) if task == 'detector' else (512, 512))
    loaded = {config: _load(config, task, size, steps) for config in configs}
    if steps is not None and not any(cfg.model.backbone.get('anytime') for cfg in loaded.values()):
        raise InputError('--steps: none of these networks leaves a choice; those with anytime=dict(steps=...) do')
    build = functools.partial(_model_variants, settings, task, loaded, size)
    return [Case('network', f'{size[0]}×{size[1]} px', None, build)]


def default_configs(task: str) -> list[str]:
    """MobileODE V1 and MobileNetV2."""
    return [str(ROOT / 'configs' / f'{name}.py') for name in CONFIGS[task]]


def model_name(config: str) -> str:
    """Name of a config's variants: the file's stem, and ``:naive``."""
    path, _, changed = config.partition(':')
    return Path(path).stem + (f':{changed}' if changed else '')


def _load(name: str, task: str, size: tuple[int, int], steps: int | Sequence[int] | None):
    from mobileode_mm.runs.config import load_config, use_steps
    path, _, changed = name.partition(':')
    if changed not in ('', NAIVE, *ORDERS):
        raise InputError(f'{name}: after a config only ":{NAIVE}" can stand, or a backend: {", ".join(ORDERS)}')
    cfg = load_config(path)
    if cfg.get('default_scope') != SCOPES[task]:
        raise InputError(f'{path} is no config of a {task}: its default_scope is {cfg.get("default_scope")!r}, not '
                         f'{SCOPES[task]!r}')
    if 'anytime' in cfg.model.backbone:
        use_steps(cfg, steps)
    if 'input_size' in cfg.model.backbone:
        cfg.model.backbone.input_size = size
    if changed in ORDERS:
        cfg.model.backbone[backend_argument(MODELS.get(cfg.model.backbone.type), name)] = changed
    return cfg


def _model_variants(settings: Settings, task: str, configs: dict, size: tuple[int, int]) -> list[Variant]:
    from mmengine.model import revert_sync_batchnorm
    init_default_scope(SCOPES[task])
    torch.manual_seed(0)
    inputs = torch.randn(settings.batch, 3, *size, device=settings.device)
    variants = []
    for config, cfg in configs.items():
        torch.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(settings.device)
        for module in model.modules():
            if isinstance(module, nn.Dropout2d | nn.Dropout):
                module.p = 0.0  # the compiled variant draws other numbers than the eager one
        images = torch.randn(2, 3, *size, device=settings.device)
        calibrate_norms(model, functools.partial(model, images, mode='tensor'))
        if task == 'detector':
            _spread_scores(model, inputs)
        name = model_name(config)
        classes = (model.bbox_head if task == 'detector' else model.decode_head).num_classes
        samples = functools.partial(SAMPLES[task], settings.batch, size, settings.device, classes)
        build = functools.partial(_build, name, model, settings, inputs, samples, cfg.optim_wrapper)
        expected = _reference(settings, model, inputs, samples)
        variants += [Variant(f'{name}/{path}', functools.partial(build, path), expected)
                     for path in paths_of(name, settings)]
    return variants


def _build(name: str, model: nn.Module, settings: Settings, inputs: Tensor, samples: Callable, optimizer: dict,
           path: str) -> ModelWorkload:
    model = prepared(name, model, path, settings, as_released if is_naive(name) else None)
    if path == 'compiled':
        for part_name in ('backbone', 'neck', 'bbox_head', 'decode_head', 'auxiliary_head'):
            part = getattr(model, part_name, None)
            if part is not None:
                compile_in_place(part)
    batch = inputs.to(settings.dtype) if not settings.train else inputs
    return ModelWorkload(model, batch, samples(), settings.train, settings.dtype, optimizer)


def _reference(settings: Settings, model: nn.Module, inputs: Tensor, samples: Callable) -> Callable:
    """The model eager in float32, its solvers as released: the toolboxes' losses are not made for float64."""
    @functools.cache
    def expected():
        network = as_released(storage(copy.deepcopy(model), settings)).float()
        return ModelWorkload(network, inputs.to(settings.dtype).float(), samples(), settings.train).probe()

    return expected


@torch.no_grad()
def _spread_scores(model: nn.Module, inputs: Tensor) -> None:
    """Give the untrained head scores of a trained one's kind: logits of deviation 2, and a background so strong that
    about ``CANDIDATES_PER_IMAGE`` scores of an image pass the threshold, the same number for every backbone.

    Raises:
        InputError: The head is not an SSD head.
    """
    head = model.bbox_head
    if not hasattr(head, 'cls_convs'):
        raise InputError(f'{type(head).__name__} is not an SSD head; detectors of this project are measured')
    last = [[part for part in branch.modules() if isinstance(part, nn.Conv2d)][-1] for branch in head.cls_convs]
    columns = head.num_classes + 1

    def logits():
        maps = model(inputs, mode='tensor')[0]
        return torch.cat([scores.permute(0, 2, 3, 1).reshape(-1, columns) for scores in maps])

    model.eval()
    deviation = logits().std()
    for conv in last:
        conv.weight.mul_(2 / deviation)
    scores = logits().double()
    low, high = -50.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        shifted = scores + middle * torch.eye(columns, device=scores.device, dtype=scores.dtype)[-1]
        passing = (shifted.softmax(-1)[:, :-1] > model.test_cfg['score_thr']).sum()
        low, high = (middle, high) if passing > CANDIDATES_PER_IMAGE * len(inputs) else (low, middle)
    for conv in last:
        conv.bias.view(-1, columns)[:, -1] += high


def _detection_samples(batch: int, size: tuple[int, int], device: torch.device, classes: int) -> list:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    scale = torch.tensor([*size[::-1], *size[::-1]], device=device)
    corners = torch.tensor([[0.1, 0.1, 0.6, 0.7], [0.4, 0.5, 0.9, 0.9], [0.2, 0.6, 0.4, 0.8]], device=device)
    samples = []
    for _ in range(batch):
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
                                             scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(bboxes=corners * scale,
                                           labels=torch.arange(len(corners), device=device) % classes)
        samples.append(sample)
    return samples


def _segmentation_samples(batch: int, size: tuple[int, int], device: torch.device, classes: int) -> list:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, padding_size=[0] * 4))
        labels = torch.randint(classes, (1, *size), generator=generator)
        sample.gt_sem_seg = PixelData(data=labels.to(device))
        samples.append(sample)
    return samples


SAMPLES = dict(detector=_detection_samples, segmentor=_segmentation_samples)
