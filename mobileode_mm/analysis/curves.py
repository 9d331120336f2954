"""Curves of a training run."""
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .scalars import BOOKKEEPING, headline_metric, read_scalars

_GREY = '#555555'


def plot_curves(work_dir: str | Path, out: str | Path | None = None) -> Path:
    """Draw losses, metrics and learning rate of the run in a work dir, resumed runs joined.

    Args:
        work_dir: Folder that a run trained in.
        out: PNG to write; ``curves.png`` in ``work_dir`` by default.

    Returns:
        The path of the PNG.

    Raises:
        InputError: Nothing was logged there.
    """
    scalars = read_scalars(work_dir)
    out = Path(out) if out else Path(work_dir) / 'curves.png'

    # Not pyplot: its backend and its list of figures belong to the user.
    figure = Figure(figsize=(16, 4.8), layout='constrained')
    FigureCanvasAgg(figure)
    loss_axes, metric_axes, lr_axes = figure.subplots(1, 3)

    losses = [name for name in _names(scalars.train) if 'loss' in name]
    _draw(loss_axes, scalars.train, losses, bold='loss')
    loss_axes.set(title='training loss', xlabel='iteration')

    # COCO reports -1 for an object size that the data do not hold.
    val = [{name: value for name, value in record.items() if value != -1} for record in scalars.val]
    metrics = [name for name in _names(val) if name not in BOOKKEEPING]
    headline = headline_metric(dict.fromkeys(metrics, 0))
    _draw(metric_axes, val, metrics, bold=headline, marker='o')
    metric_axes.set(title='validation', xlabel=scalars.val_unit)
    if not metrics:
        metric_axes.text(.5, .5, 'not evaluated', color=_GREY, ha='center', transform=metric_axes.transAxes)

    rates = [name for name in _names(scalars.train) if name.endswith('lr') and not name.endswith('base_lr')]
    _draw(lr_axes, scalars.train, rates, bold='lr')
    lr_axes.set(title='learning rate', xlabel='iteration')

    figure.savefig(out, format='png', dpi=100)
    return out


def _names(records: list[dict]) -> list[str]:
    """Names of all scalars, in the order of their first appearance."""
    return list(dict.fromkeys(name for record in records for name, value in record.items()
                              if isinstance(value, (int, float))))


def _draw(axes, records: list[dict], names: list[str], bold: str, marker: str | None = None) -> None:
    for name in names:
        held = [record for record in records if isinstance(record.get(name), (int, float))]
        width, order = (2.4, 3) if name == bold else (1.2, 2)
        axes.plot([record['step'] for record in held], [record[name] for record in held], label=name,
                  linewidth=width, zorder=order, marker=marker, markersize=4)
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(colors=_GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(names) > 1 or names and names[0] != 'lr':
        axes.legend(fontsize=9, frameon=False)
