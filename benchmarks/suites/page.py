"""The page of a suite: one HTML file with its tables and charts inside."""
from html import escape

from matplotlib.ticker import MaxNLocator

from ..charts import add_legend, axes_of_charts, draw, svg_of
from .table import caption, factor_of, notes, task_rows, tasks_of, troubles

_AGAINST = (('onnx_milliseconds', 1, 'onnxruntime, 1 thread, ms'), ('milliseconds', 1, 'PyTorch, ms'),
            ('parameters', 1e6, 'parameters, M'), ('macs', 1e6, 'MACs, M'))
_LINES = ('-', '--', ':')
_STYLE = ('body{font:16px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}'
          'table{border-collapse:collapse}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:left}'
          'svg{max-width:100%;height:auto}.trouble{color:#a00}')


def html_page(content: dict) -> str:
    """Page with tables and, for each task, the first metric against parameters, multiply-adds and times."""
    networks = content['networks']
    parts = [f'<h1>Suite {escape(content["suite"])}</h1>', f'<p>{escape(content["description"])}</p>']
    for task in tasks_of(networks):
        own = [network for network in networks if network['task'] == task]
        drawn = [network for network in own if network['metrics'][0]['runs']]
        parts += [f'<h2>{escape(caption(own))}</h2>', _table(*task_rows(own, content['reference']))]
        if drawn:
            parts += [charts(drawn), curves(content['runs'], drawn[0])]
        missing = [network['backbone'] for network in own if network not in drawn]
        if missing:
            parts.append(f'<p class="trouble">Without a figure: {escape(", ".join(missing))}</p>')
    parts += [*(f'<p class="trouble">{escape(line)}</p>' for line in troubles(content)),
              *(f'<p>{escape(note)}</p>' for note in notes(content))]
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(content["suite"])}</title>'
            f'<style>{_STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n')


def _table(head: list[str], body: list[list[str]]) -> str:
    def line(cells, tag):
        return '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    return '<table>' + line(head, 'th') + ''.join(line(cells, 'td') for cells in body) + '</table>'


def charts(networks: list[dict]) -> str:
    """Charts as SVG; bars are the spread over the seeds, rings and the line the Pareto front."""
    against = [one for one in _AGAINST if all(network[one[0]] is not None for network in networks)]
    figure, places = axes_of_charts(len(against))
    names = [network['backbone'] for network in networks]
    for axes, (key, unit, label) in zip(places, against):
        points = [(network[key] / unit, network['metrics'][0]['mean']) for network in networks]
        draw(axes, names, points, (label, f'{networks[0]["metrics"][0]["label"]}, %'),
             [network['metrics'][0]['spread'] for network in networks], names)
    add_legend(figure)
    return svg_of(figure, networks[0]['task'])


def curves(runs: list[dict], network: dict) -> str:
    """Chart of the first metric over the training of each backbone in the task of a network, as SVG.

    Mean over the seeds at each validation, and their range; empty where no run had more than one.
    """
    task, metric = network['task'], network['metrics'][0]
    by_backbone: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        for point in (run.get('curve') or []) if run['task'] == task else []:
            if metric['name'] in point:
                steps = by_backbone.setdefault(run['backbone'], {})
                steps.setdefault(point['step'], []).append(factor_of(metric['name']) * point[metric['name']])
    if not by_backbone:
        return ''
    figure, (axes, ) = axes_of_charts(1)
    for number, (backbone, steps) in enumerate(by_backbone.items()):
        x, style = sorted(steps), dict(color=f'C{number % 10}', linestyle=_LINES[number // 10 % len(_LINES)])
        axes.plot(x, [sum(steps[step]) / len(steps[step]) for step in x], label=backbone, **style)
        axes.fill_between(x, [min(steps[step]) for step in x], [max(steps[step]) for step in x], alpha=.12,
                          color=style['color'], linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel='epochs', ylabel=f'{metric["label"]} of the validation, %')
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)
    add_legend(figure)
    return svg_of(figure, f'{task} curves')
