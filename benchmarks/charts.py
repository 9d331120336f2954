"""What charts of networks share: points with names, and the front of those that nothing beats."""

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, score), those that no other beats in one without being worse in the other; by rising cost."""
    front = []
    for cost, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def row_of_charts(count: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with that many axes side by side."""
    figure = Figure(figsize=(5.2 * count, 4.2), layout='constrained')
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def draw(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], labels: tuple[str, str],
         spreads: Sequence[float | None]) -> None:
    """Named points (cost, score); bars are the spreads, rings and the line the Pareto front."""
    # Rings as well as the line: a front may be a single point.
    axes.plot(*zip(*pareto_front(points)), color='#888', linewidth=1.2, marker='o', markersize=12,
              markerfacecolor='none', zorder=1, gid='pareto', label='Pareto front')
    for number, (name, (x, y), spread) in enumerate(zip(names, points, spreads)):
        axes.errorbar(x, y, yerr=spread, fmt='o', capsize=3, color=f'C{number % 10}')
        axes.annotate(name, (x, y), xytext=(5, 5), textcoords='offset points', fontsize=9)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.margins(x=.2, y=.15)
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def svg_of(figure: Figure, salt: str) -> str:
    """The figure as SVG, the same for the same figure and salt."""
    out = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': salt, 'svg.fonttype': 'none'}):
        figure.savefig(out, format='svg', metadata={'Date': None})
    svg = out.getvalue()
    return svg[svg.index('<svg'):]
