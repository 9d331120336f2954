"""What goes on inside a trained network: step lengths, the way of a position's channels, feature maps."""
from collections.abc import Sequence
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..errors import InputError, listed
from ..ode import ChannelwiseODESolver

#: Channels that a plot shows: lines of a trajectory, maps of a stage.
LINES, MAPS = 24, 7


def solvers(model: nn.Module) -> dict[str, ChannelwiseODESolver]:
    """The solvers of a network by name, in its order.

    Raises:
        InputError: It has none.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, ChannelwiseODESolver)}
    if not found:
        raise InputError(f'{type(model).__name__} has no channelwise ODE solver; those with a MobileODE backbone have, '
                         'unless they were switched to their deploy form')
    return found


def plot_steps(model: nn.Module, out: str | Path) -> Path:
    """Draw the learned step lengths Δt of every solver as a PNG, with the 1/L that none is shorter than.

    Raises:
        InputError: The network has no solver.
    """
    found = solvers(model)
    figure, axes = _figure(max(7, 1 + 0.45 * len(found)), 4.8)
    steps = max(solver.num_steps for solver in found.values())
    for step in range(steps):
        aside = 0.15 * (step - (steps - 1) / 2)  # equal ones would cover each other
        held = [(number + aside, solver.step_lengths()[step].item()) for number, solver in enumerate(found.values())
                if step < solver.num_steps]
        axes.plot(*zip(*held), 'o', label=f'step {step + 1}', zorder=3)
    floor = [1 / solver.num_steps for solver in found.values()]
    axes.step(range(len(found)), floor, where='mid', color='#888', linewidth=1.2, label='1/L')
    # With room for a whole point above the longest.
    axes.set(ylabel='Δt', title='learned step lengths', ylim=(0, 1.1 * axes.get_ylim()[1]))
    axes.set_xticks(range(len(found)), found, rotation=60, ha='right', fontsize=8)
    axes.legend(fontsize=9, frameon=False, ncols=min(4, steps + 1))
    return _save(figure, out)


def plot_trajectory(model: nn.Module, inputs: Tensor, out: str | Path, solver: str | None = None,
                    position: Sequence[int] | None = None) -> Path:
    """Draw how a position's channels change over the steps of a solver as a PNG.

    Above all, the channels that change most as lines over t = ΣΔt; below, all of them as the q×q matrix that the
    solver works on.

    Args:
        model: The network, in eval mode.
        inputs: One normalised image, (1, 3, H, W), as the backbone takes it.
        out: The PNG.
        solver: Its name as :func:`solvers` has it; by default the last.
        position: Row and column on the solver's map; by default the one whose input is largest.

    Raises:
        InputError: There is no such solver or position.
    """
    found = solvers(model)
    name = solver or list(found)[-1]
    if name not in found:
        raise InputError(f'there is no solver {name}; there are {listed(found, 99)}')
    (x, ) = _seen(model.backbone, {name: found[name]}, inputs, of_input=True).values()
    height, width = x.shape[2:]
    if position is None:
        position = np.unravel_index(x.norm(dim=1).argmax().item(), (height, width))
    row, column = position
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(f'position {row} {column} is not on the map of {name}, which has {height} rows and {width} '
                         'columns, counted from 0')
    states = found[name].trajectory(x)[:, 0, :, row, column].cpu()
    times = torch.cat([torch.zeros(1), found[name].step_lengths().detach().cpu().cumsum(0)])

    count = len(states)
    figure = Figure(figsize=(max(8, 2.1 * count), 7), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, count, height_ratios=(2, 1))
    lines = figure.add_subplot(grid[0, :])
    changes = (states.max(0).values - states.min(0).values).argsort(descending=True)
    for channel in changes[:LINES]:
        lines.plot(times, states[:, channel], marker='o', markersize=3, linewidth=1.2)
    lines.set(xlabel='t', ylabel='y', title=f'{name} at row {row}, column {column} of {height}×{width}\n'
              f'the {min(LINES, states.shape[1])} of {states.shape[1]} channels that change most')
    _plain(lines)
    side, largest = isqrt(states.shape[1]), states.abs().max().item() or 1
    for number, state in enumerate(states):
        axes = figure.add_subplot(grid[1, number])
        image = axes.imshow(state.view(side, side), cmap='RdBu_r', vmin=-largest, vmax=largest)
        axes.set(title=f't = {times[number]:.2f}', xticks=[], yticks=[])
    figure.colorbar(image, ax=axes)
    return _save(figure, out)


def plot_feature_maps(model: nn.Module, inputs: Tensor, out: str | Path) -> Path:
    """Draw what each stage of a backbone makes of an image as a PNG: the mean over its channels, and the strongest.

    Args:
        model: The network, in eval mode; any backbone whose stages are its children.
        inputs: One normalised image, (1, 3, H, W), as the backbone takes it.
        out: The PNG.
    """
    maps = {name: value for name, value in _seen(model.backbone, dict(model.backbone.named_children()), inputs).items()
            if isinstance(value, Tensor) and value.dim() == 4}
    figure = Figure(figsize=(1.7 * (MAPS + 1), 1.9 * len(maps)), layout='constrained')
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(maps), MAPS + 1, squeeze=False)
    for row, (name, value) in zip(rows, maps.items()):
        value = value[0].float().cpu()
        strongest = value.abs().mean((1, 2)).argsort(descending=True)[:MAPS].tolist()
        panels = [('mean', value.mean(0)), *((f'channel {channel}', value[channel]) for channel in strongest)]
        for axes in row:
            axes.set_axis_off()
        for axes, (title, panel) in zip(row, panels):
            axes.imshow(panel, cmap='viridis')
            axes.set_title(title, fontsize=8)
        row[0].set_title(f'{name}: {value.shape[0]} of {value.shape[1]}×{value.shape[2]}\nmean', fontsize=8)
    return _save(figure, out)


@torch.no_grad()
def _seen(backbone: nn.Module, modules: dict[str, nn.Module], inputs: Tensor, of_input: bool = False) -> dict:
    """What modules of a backbone were given, or gave, for an image."""
    seen, handles = {}, []
    for name, module in modules.items():
        def note(module, given, output, name=name):
            # A copy: an activation may be computed in place.
            value = given[0] if of_input else output
            seen[name] = value.clone() if isinstance(value, Tensor) else value
        handles.append(module.register_forward_hook(note))
    try:
        backbone(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes) -> None:
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)


def _save(figure: Figure, out: str | Path) -> Path:
    out = Path(out)
    figure.savefig(out, format='png', dpi=100)
    return out
