"""The paper's claims that arithmetic alone can check, computed for this project's networks."""
import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn

from mobileode_mm.ode import ChannelwiseODESolver, PositionNorm
from mobileode_mm.zoo import create_model

from ..output import markdown, page_and_mark, put_into_page

#: Per cent fewer parameters than the pointwise convolution that a solver replaces (the paper's abstract: "over").
SOLVER_CLAIM = 98.36
#: Per cent fewer channel-interaction parameters than MobileNetV1 (the paper's abstract).
INTERACTION_CLAIMS = {'V1': 71.0, 'V2': 69.2}
#: Parameters in all that a public review of the paper quotes, in millions.
QUOTED_TOTALS = {'V1': 0.97, 'V2': 1.03}
CLASSES = (10, 100, 200, 1000)
STEPS = (1, 3, 10)
WIDTHS = (0.75, 1.0, 1.25)
#: Side of the images, and the ending of the preset's name.
SIZES = {256: '', 64: '', 32: '_cifar'}
_MARK = 'complexity-claims'


@dataclass(frozen=True)
class Claim:
    """A claim and what becomes of it here.

    Attributes:
        claim: In words.
        claimed, ours: Per cent.
        definition: What was counted, in which network.
        margin: How far ``ours`` may fall short: half of the last digit that is claimed, or nothing.
    """
    claim: str
    claimed: float
    ours: float
    definition: str
    margin: float = 0.0

    @property
    def holds(self) -> bool:
        return self.ours >= self.claimed - self.margin


@cache
def backbone(version: str, size: int = 256, steps: int = 3, width: float = 1.0) -> nn.Module:
    """A preset's backbone for images of ``size`` px."""
    return create_model(f'mobileode_{version.lower()}{SIZES[size]}', features_only=True, input_size=size,
                        num_steps=steps, widen_factor=width)


def solver_parameters(solver: ChannelwiseODESolver, with_norm: bool) -> int:
    """Parameters of K and of the step lengths, L·(C_out + 1), and on demand the inner norm's, 2·H·W."""
    norm = sum(parameter.numel() for parameter in solver.norm.parameters())
    return sum(parameter.numel() for parameter in solver.parameters()) - (0 if with_norm else norm)


def pointwise_parameters(model: nn.Module) -> int:
    """Weights of all 1×1 convolutions that mix channels; none has a bias."""
    return sum(module.weight.numel() for module in model.modules()
               if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1)


def interaction_parameters(model: nn.Module, with_norm: bool) -> int:
    """Parameters that mix channels: pointwise convolutions and solvers. A classifier's layer is not counted."""
    return pointwise_parameters(model) + sum(solver_parameters(solver, with_norm) for solver in _solvers(model))


def claims() -> list[Claim]:
    """All claims on parameters, under each definition."""
    return [*_solver_claims(), *_interaction_claims()]


def _solver_claims() -> Iterator[Claim]:
    words = f'COS: over {SOLVER_CLAIM} % fewer parameters than the 1×1 convolution'
    for version in INTERACTION_CLAIMS:
        for with_norm, size in ((False, 256), (True, 256), (True, 32)):
            solvers = _solvers(backbone(version, size))
            savings = {(solver.in_channels, solver.out_channels): _saved(
                solver_parameters(solver, with_norm), solver.in_channels * solver.out_channels) for solver in solvers}
            network = f'{version}, L = 3' + (f', {size} px' if with_norm else '')
            counted = 'K, Δt and position norm' if with_norm else 'K and Δt'
            ours = _saved(sum(solver_parameters(solver, with_norm) for solver in solvers),
                          sum(solver.in_channels * solver.out_channels for solver in solvers))
            yield Claim(words, SOLVER_CLAIM, ours, f'{network}: {counted}, all solvers together')
            for width in (min(savings, key=savings.get), max(savings, key=savings.get)):
                yield Claim(words, SOLVER_CLAIM, savings[width], f'{network}: {counted}, solver {width[0]} to '
                            f'{width[1]}, the {"least" if savings[width] == min(savings.values()) else "most"} saved')


def _interaction_claims() -> Iterator[Claim]:
    yardstick = mobilenet_v1_pointwise()
    for version, claimed in INTERACTION_CLAIMS.items():
        for with_norm, size in ((False, 256), (True, 256), (True, 32)):
            counted = f'K, Δt and position norm at {size} px' if with_norm else 'K and Δt'
            ours = _saved(interaction_parameters(backbone(version, size), with_norm), yardstick)
            yield Claim(f'{version}: {claimed} % fewer channel-interaction parameters than MobileNetV1', claimed, ours,
                        f'{version}, L = 3: 1×1 convolutions, {counted}', margin=0.05)


@cache
def mobilenet_v1_pointwise() -> int:
    """Parameters of MobileNetV1's pointwise convolutions."""
    return pointwise_parameters(create_model('mobilenet_v1', features_only=True))


def steps_for(version: str) -> float:
    """Steps L at which K and Δt would bring a preset to exactly the claimed channel-interaction parameters."""
    claimed = mobilenet_v1_pointwise() * (1 - INTERACTION_CLAIMS[version] / 100)
    model = backbone(version)
    each = sum(solver.side ** 2 + 1 for solver in _solvers(model))
    return (claimed - pointwise_parameters(model)) / each


def nearest_totals(version: str, classes: Iterable[int], count: int = 2) -> list[tuple[str, int]]:
    """Settings with the parameters nearest to the quoted number, and those parameters, the classifier's included.

    Tried are the widths in ``WIDTHS``, the numbers of steps in ``STEPS`` and the sizes in ``SIZES``.

    Args:
        version: ``'V1'`` or ``'V2'``.
        classes: Numbers of classes to try.
        count: How many to give.
    """
    totals = []
    for width in WIDTHS:
        for size in SIZES:
            for steps in STEPS:
                model = backbone(version, size, steps, width)
                own = sum(parameter.numel() for parameter in model.parameters())
                totals += [(f'width {width:g}, L = {steps}, {size} px, {number} classes',
                            own + (model.out_channels[-1] + 1) * number) for number in classes]
    return sorted(totals, key=lambda total: abs(total[1] - QUOTED_TOTALS[version] * 1e6))[:count]


def _solvers(model: nn.Module) -> list[ChannelwiseODESolver]:
    solvers = [module for module in model.modules() if isinstance(module, ChannelwiseODESolver)]
    assert all(isinstance(solver.norm, PositionNorm) for solver in solvers)
    return solvers


def _saved(ours: int, theirs: int) -> float:
    return 100 * (1 - ours / theirs)


def report() -> list[str | dict]:
    """Claims, totals and what they leave open: parts, as :func:`~benchmarks.output.markdown` takes them."""
    rows = [[claim.claim, f'{claim.ours:.2f} %', claim.definition, 'holds' if claim.holds else '**does not hold**']
            for claim in claims()]
    parts: list[str | dict] = [dict(head=['claim of the paper', 'ours', 'definition', ''], rows=rows)]
    parts += [f'MobileNetV1\'s 1×1 convolutions have {mobilenet_v1_pointwise():,} parameters here. A claim holds where '
              'ours is as large or larger; the very figures of the paper come out nowhere.',
              'The claimed channel-interaction parameters would be reached with '
              + ' and '.join(f'L = {steps_for(version):.1f} in {version}' for version in INTERACTION_CLAIMS)
              + ' (K and Δt, everything else unchanged).',
              'A solver of 64 channels with L = 1 and two parameters of a norm saves '
              f'{_saved(64 + 1 + 2, 64 ** 2):.2f} % (67 against 4,096); whether that is how the paper comes to its '
              'figure is not known.']
    rows = [[f'{version}: {QUOTED_TOTALS[version]} M', settings, f'{total:,}']
            for version in QUOTED_TOTALS for classes in (CLASSES, (200, ))
            for settings, total in nearest_totals(version, classes)]
    head = ['quoted by a review', 'nearest of ours, of all and with 200 classes', 'parameters']
    parts.append(dict(head=head, rows=rows))
    claimed, quoted = (abs(values['V2'] - values['V1']) for values in (INTERACTION_CLAIMS, QUOTED_TOTALS))
    ours = [interaction_parameters(backbone(version), with_norm=False) for version in INTERACTION_CLAIMS]
    parts.append(
        'Unknown are the number of classes, of steps, the size of the images, and the widths that the quoted numbers '
        f'belong to. By the claims V2 has {claimed / 100 * mobilenet_v1_pointwise():,.0f} interaction parameters more '
        f'than V1, by the review {quoted * 1e6:,.0f} parameters more; here it is {ours[1] - ours[0]:,} interaction '
        'parameters, since the released V2 ends with 1024 channels and V1 with 576. So the two networks behind these '
        'numbers are not both the released ones at width 1.')
    return parts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = 'Check the claims of the paper that need no training.'
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put it into this page, between its marks of this name (default: {_MARK})')


def run(args: argparse.Namespace) -> None:
    """Print the report."""
    page, mark = page_and_mark(args.page, _MARK)
    parts = report()
    text = markdown(parts)
    print(text)
    if page:
        put_into_page(page, mark, parts, text)
