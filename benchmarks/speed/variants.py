"""The variants of a comparison: a layer's and a backbone's. Whole models are in ``models.py``."""

import copy
import difflib
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.model import initialize
from mmengine.registry import MODELS
from torch import Tensor, nn

from mobileode_mm.backbones import Deployable
from mobileode_mm.errors import InputError
from mobileode_mm.ode import ChannelwiseODESolver

from ..complexity.solver import least_operations
from .as_released import as_released
from .workloads import HALVES, CopyWorkload, GraphWorkload, NetworkWorkload, ProductWorkload, Workload, calibrate_norms

#: How a variant runs: as it is; with its ``forward`` compiled; in its deploy form, for inference alone; as a CUDA
#: graph, layers and backbones alone. A toolbox's network has no deploy form: of it ``deploy`` is what mmcv's
#: ``fuse_conv_bn`` makes, with batch norms folded into the convolutions.
PATHS = ('eager', 'compiled', 'deploy', 'graph')
NAIVE = 'naive'
LAYER_VARIANTS = (NAIVE, 'cos', 'pointwise', 'copy', 'product')
# The table of the eight layers in MobileODE V1 and V2 at 320 px, and the two of V2's widest stage.
LAYER_SHAPES = ('144-144-80', '256-256-40', '576-576-20', '1024-1024-10', '144-576-80', '576-144-80', '576-2304-20',
                '2304-576-20')
# Maps of strides 16 and 32, as SSDLite reads them. Other names are built with their own defaults.
BACKBONES = {
    'MobileODEV1': dict(out_indices=(4, 5), act_cfg=dict(type='SiLU')),
    'MobileODEV2': dict(out_indices=(4, 5), act_cfg=dict(type='SiLU')),
    'MobileNetV1': dict(out_indices=(4, 5)),
    'mmpretrain.MobileNetV2': dict(out_indices=(4, 7)),
    'mmpretrain.MobileNetV3': dict(arch='large', out_indices=(12, 16)),
    'mmdet.MobileNetV2': dict(out_indices=(4, 7)),
}


@dataclass(frozen=True)
class Settings:
    """What all variants of a comparison share.

    Raises:
        InputError: Training in the deploy form, or a CUDA graph on another device.
    """
    train: bool = False
    paths: tuple[str, ...] = ('eager', )
    batch: int = 1
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))

    def __post_init__(self):
        if self.train and 'deploy' in self.paths:
            raise InputError('the deploy form is for inference alone: leave "deploy" out of --paths, or train out of '
                             '--mode')
        if 'graph' in self.paths and self.device.type != 'cuda':
            raise InputError('a CUDA graph needs a GPU: add --device cuda, or leave "graph" out of --paths')

    @property
    def mode(self) -> str:
        return 'train' if self.train else 'infer'


@dataclass(frozen=True)
class Variant:
    """One variant.

    Attributes:
        label: ``name/path``.
        build: Makes what is measured.
        expected: Makes the numbers that ``probe()`` of the workload has to give; None where nothing is computed.
    """
    label: str
    build: Callable[[], Workload]
    expected: Callable[[], dict[str, Tensor]] | None


@dataclass(frozen=True)
class Case:
    """Variants that are compared with each other.

    Attributes:
        kind: ``'layer'`` or ``'network'``.
        title: What they work on.
        num_steps: L of the solvers in them; None where each has its own.
        variants: Makes the variants; weights and input are made on this call, the same for all.
    """
    kind: str
    title: str
    num_steps: int | None
    variants: Callable[[], list[Variant]]


def layer_cases(settings: Settings, shapes: Sequence[str] = LAYER_SHAPES,
                variants: Sequence[str] = LAYER_VARIANTS, num_steps: Sequence[int] = (3, )) -> list[Case]:
    """The solver beside what it replaces, and beside the copy that no layer can beat.

    Args:
        settings: Mode, paths, batch, type, device.
        shapes: ``C_in-C_out-HxW``, or ``C_in-C_out-H`` for a square map.
        variants: Of ``naive`` (as released), ``cos`` or ``cos:BACKEND`` (the layer), ``pointwise`` (1×1 convolution
            without bias, channels_last), ``copy`` (reads and writes as many bytes), ``product`` (a square matrix
            product with as many operations as the solver).
        num_steps: L, one case for each.

    Raises:
        InputError: A shape or a variant is unknown, or the deploy form is asked for.
    """
    if 'deploy' in settings.paths:
        raise InputError('a layer is measured without a deploy form: --paths deploy is for backbones and whole models')
    for name in variants:
        if name not in LAYER_VARIANTS and not name.startswith('cos:'):
            raise InputError(f'there is no variant {name!r} of a layer; there are: {", ".join(LAYER_VARIANTS)}, '
                             'cos:BACKEND')
        if name.startswith('cos:'):
            backend_argument(ChannelwiseODESolver, name)
    cases = []
    for shape in shapes:
        channels_in, channels_out, size = parse_layer(shape)
        title = f'{channels_in}→{channels_out}, {size[0]}×{size[1]}'
        for steps in num_steps:
            build = functools.partial(_layer_variants, settings, tuple(variants), channels_in, channels_out, size,
                                      steps)
            cases.append(Case('layer', title, steps, build))
    return cases


def _layer_variants(settings: Settings, names: Sequence[str], channels_in: int, channels_out: int,
                    size: tuple[int, int], num_steps: int) -> list[Variant]:
    torch.manual_seed(0)
    x = torch.randn(settings.batch, channels_in, *size, device=settings.device)
    try:
        solver = ChannelwiseODESolver(channels_in, channels_out, num_steps, size)
    except ValueError as error:
        raise InputError(f'{channels_in}→{channels_out}, L={num_steps}: {error}') from None
    solver.to(settings.device)
    calibrate_norms(solver, lambda: solver(x))
    pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False, device=settings.device)
    references = {part: reference(part, x, settings, input_gradient=True) for part in (solver, pointwise)}
    variants = []
    for name in names:
        kind, _, backend = name.partition(':')
        if kind == 'copy':
            numel = settings.batch * (channels_in + channels_out) * size[0] * size[1]
            numel *= 3 if settings.train else 1  # backward: output's gradient and input in, input's gradient out
            workload = functools.partial(CopyWorkload, numel, settings.device, settings.dtype)
            variants.append(Variant('copy', workload, None))
            continue
        if kind == 'product':
            operations = least_operations(solver, settings.batch * size[0] * size[1]) * (3 if settings.train else 1)
            workload = functools.partial(ProductWorkload, operations, settings.device, settings.dtype)
            variants.append(Variant('product', workload, None))
            continue
        layer = pointwise if kind == 'pointwise' else solver
        changed = None
        if kind == NAIVE:
            changed = as_released
        elif backend:
            changed = functools.partial(_with_backend, name=name, backend=backend, arguments=(
                channels_in, channels_out, num_steps, size))
        variants += network_variants(name, layer, x, settings, references[layer], changed, input_gradient=True)
    return variants


def backbone_cases(settings: Settings, names: Sequence[str] = tuple(BACKBONES), size: tuple[int, int] = (320, 320),
                   num_steps: Sequence[int | None] = (None, )) -> list[Case]:
    """Backbones by name.

    Args:
        settings: Mode, paths, batch, type, device.
        names: Of the registry, such as ``MobileODEV1`` or ``mmdet.MobileNetV2``. ``NAME:naive`` has the solver as
            released, ``NAME:BACKEND`` another backend of it.
        size: Height and width of the images, and of the solvers' reference grids.
        num_steps: L of every solver, one case for each; None leaves the networks' own.

    Raises:
        InputError: A name is not in the registry.
    """
    title = f'{size[0]}×{size[1]} px'
    for name in names:
        backbone_config(name, size, None)
    return [Case('network', title, steps, functools.partial(_backbone_variants, settings, tuple(names), size, steps))
            for steps in num_steps]


def _backbone_variants(settings: Settings, names: Sequence[str], size: tuple[int, int],
                       num_steps: int | None) -> list[Variant]:
    torch.manual_seed(0)
    x = torch.randn(settings.batch, 3, *size, device=settings.device)
    variants = []
    for name in names:
        network = build_backbone(name, size, num_steps, settings.device)
        changed = as_released if is_naive(name) else None
        variants += network_variants(name, network, x, settings, reference(network, x, settings), changed)
    return variants


def build_backbone(name: str, size: tuple[int, int], num_steps: int | None, device: torch.device) -> nn.Module:
    """A backbone by name, with norms as of a trained one and the same weights on each call."""
    kind, config = backbone_config(name, size, num_steps)
    torch.manual_seed(0)
    network = kind(**config)
    initialize(network, network.init_cfg)  # not init_weights(), which prints a line for every parameter
    network.to(device)
    calibrate_norms(network, functools.partial(network, torch.randn(2, 3, *size, device=device)))
    return network


def backbone_config(name: str, size: tuple[int, int], num_steps: int | None) -> tuple[type[nn.Module], dict]:
    """Class and arguments of a backbone by name.

    Raises:
        InputError: There is none of that name, or it has no solver whose backend could be chosen.
    """
    registered, _, backend = name.partition(':')
    kind = MODELS.get(registered)
    if kind is None:
        nearest = difflib.get_close_matches(registered, BACKBONES, n=3, cutoff=0.5) or BACKBONES
        raise InputError(f'there is no backbone named {registered!r} in the registry, or its toolbox is not installed; '
                         f'known here: {", ".join(nearest)}')
    config = dict(BACKBONES.get(registered, {}))
    takes = inspect.signature(kind).parameters
    if 'input_size' in takes:
        config['input_size'] = size
    if num_steps is not None and 'num_steps' in takes:
        config['num_steps'] = num_steps
    if backend and backend != NAIVE:
        config[backend_argument(kind, name)] = backend
    elif backend == NAIVE and 'num_steps' not in takes:
        raise InputError(f'{name}: {registered} has no solver that the released one could replace')
    return kind, config


def network_variants(name: str, network: nn.Module, x: Tensor, settings: Settings,
                     expected: Callable[[], dict[str, Tensor]],
                     changed: Callable[[nn.Module], nn.Module] | None = None,
                     input_gradient: bool = False) -> list[Variant]:
    """A layer's or backbone's variants, one a path.

    Args:
        name: Their name.
        network: Copied, so that no variant moves another's weights and statistics.
        x: Its input.
        settings: Mode, paths, type.
        expected: The numbers that it has to give.
        changed: Applied to each copy.
        input_gradient: Whether training asks for the input's gradient.
    """
    def build(path):
        module = prepared(name, network, path, settings, changed)
        if path == 'compiled':
            compile_in_place(module)
        batch = x.to(dtype=settings.dtype, memory_format=layout_of(name))
        workload = NetworkWorkload(module, batch, settings.train, settings.dtype, input_gradient)
        return GraphWorkload(workload) if path == 'graph' else workload

    return [Variant(f'{name}/{path}', functools.partial(build, path), expected) for path in paths_of(name, settings)]


def prepared(name: str, network: nn.Module, path: str, settings: Settings,
             changed: Callable[[nn.Module], nn.Module] | None = None) -> nn.Module:
    """A copy of a network, changed, in its deploy form where ``path`` is that, in the variant's type and layout."""
    module = copy.deepcopy(network)
    if changed is not None:
        module = changed(module)
    if path == 'deploy':
        module.eval()  # which in mmdet returns nothing
        for part in [part for part in module.modules() if isinstance(part, Deployable)]:
            part.switch_to_deploy()
        fuse_conv_bn(module)
    return storage(module, settings).to(memory_format=layout_of(name))


def paths_of(name: str, settings: Settings) -> tuple[str, ...]:
    """The paths of a variant: the solver as released is measured eager only, as it was released."""
    return ('eager', ) if is_naive(name) else settings.paths


def layout_of(name: str) -> torch.memory_format:
    return torch.contiguous_format if is_naive(name) else torch.channels_last


def reference(network: nn.Module, x: Tensor, settings: Settings,
              input_gradient: bool = False) -> Callable[[], dict[str, Tensor]]:
    """What a network has to compute: in float64, eager, its solvers as released. Worked out once, on first use."""
    @functools.cache
    def expected():
        module = as_released(storage(copy.deepcopy(network), settings)).double()
        batch = x.to(settings.dtype).double()
        numbers = NetworkWorkload(module, batch, settings.train, input_gradient=input_gradient).probe()
        return {name: value.clone() for name, value in numbers.items()}

    return expected


def storage(module: nn.Module, settings: Settings) -> nn.Module:
    """Weights as they are stored: inference in half precision has them in that type, training in float32."""
    return module.to(settings.dtype) if settings.dtype in HALVES and not settings.train else module


def compile_in_place(module: nn.Module) -> None:
    """Compile a module's ``forward``, as ``compile`` in a config does.

    The module that ``torch.compile(module)`` wraps around it takes up to 0.1 ms more for each call, by our measurement.
    """
    module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False)


def is_naive(name: str) -> bool:
    return name.rpartition(':')[2] == NAIVE


def backend_argument(kind: type, name: str) -> str:
    """The argument of ``kind`` that chooses its backend.

    Raises:
        InputError: It has none.
    """
    for argument in inspect.signature(kind).parameters:
        if argument.endswith('backend'):
            return argument
    raise InputError(f'{name}: {kind.__name__} has no backends to choose from')


def _with_backend(solver: ChannelwiseODESolver, name: str, backend: str, arguments: tuple) -> ChannelwiseODESolver:
    other = ChannelwiseODESolver(*arguments, **{backend_argument(ChannelwiseODESolver, name): backend})
    other.to(solver.matrices).load_state_dict(solver.state_dict())
    return other


def parse_layer(shape: str) -> tuple[int, int, tuple[int, int]]:
    """Channels in, channels out, height and width of ``C_in-C_out-HxW``."""
    try:
        channels_in, channels_out, size = shape.split('-')
        return positive(channels_in), positive(channels_out), parse_size(size)
    except (ValueError, InputError):
        raise InputError(f'{shape!r} is no layer; C_in-C_out-HxW is wanted, as in 144-576-80x60') from None


def parse_size(size: str) -> tuple[int, int]:
    """Height and width of ``HxW``, or of one number for both."""
    try:
        lengths = [positive(length) for length in size.split('x')]
        height, width = lengths * 2 if len(lengths) == 1 else lengths
    except ValueError:
        raise InputError(f'{size!r} is no size: HxW is wanted, as in 320 or 320x480') from None
    return height, width


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
