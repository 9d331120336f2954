"""What charts of networks share: points with names, and the front of those that nothing beats."""

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

_SIGNS = 'osD'


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, score), those that no other beats in one without being worse in the other; by rising cost."""
    front = []
    for cost, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def axes_of_charts(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with that many axes, two side by side: as wide as a page of text shows legibly."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(9, 4.4 if count == 1 else 3.6 * rows), layout='constrained')
    FigureCanvasSVG(figure)
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in places[count:]:
        unused.remove()
    return figure, places[:count]


def draw(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], labels: tuple[str, str],
         spreads: Sequence[float | None], everyone: Sequence[str]) -> None:
    """Points (cost, score), named in :func:`add_legend`; bars are the spreads, rings and the line the Pareto front.

    Args:
        axes: Where to draw.
        names: Of the points.
        points: Cost, over 0 and drawn by its logarithm where it differs more than threefold, and score.
        labels: Of cost and score.
        spreads: Half the length of the points' bars; None for no bar.
        everyone: Names of all points of the figure, by which each has its colour and its sign.
    """
    # Rings as well as the line: a front may be a single point.
    axes.plot(*zip(*pareto_front(points)), color='#888', linewidth=1.2, marker='o', markersize=12,
              markerfacecolor='none', zorder=1, gid='pareto', label='Pareto front')
    for name, (x, y), spread in zip(names, points, spreads):
        number = everyone.index(name)
        axes.errorbar(x, y, yerr=spread, fmt=_SIGNS[number // 10 % len(_SIGNS)], capsize=3, color=f'C{number % 10}',
                      label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    costs = [cost for cost, _ in points]
    if max(costs) > 3 * min(costs):
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f'{cost:g}'))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=.1, y=.1)
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)


def add_legend(figure: Figure) -> None:
    """Name what the axes of a figure show, each once, beside them."""
    handles: dict[str, object] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles, loc='outside right upper', fontsize=8, labelspacing=.7,
                  frameon=False)


def svg_of(figure: Figure, salt: str) -> str:
    """The figure as SVG, the same for the same figure and salt."""
    out = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': salt, 'svg.fonttype': 'none'}):
        figure.savefig(out, format='svg', metadata={'Date': None})
    svg = out.getvalue()
    return svg[svg.index('<svg'):]
