"""The page of a suite: one HTML file with its tables and charts inside."""
from html import escape

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..charts import draw, row_of_charts, svg_of
from .table import comparison_note, comparison_rows, factor_of, latency_note, latency_rows, notes, rows, troubles

_AGAINST = (('parameters', 1e6, 'parameters, M'), ('macs', 1e6, 'MACs, M'), ('milliseconds', 1, 'latency, ms'),
            ('onnx_milliseconds', 1, 'onnxruntime, 1 thread, ms'))
_LINES = ('-', '--', ':')
_STYLE = ('body{font:16px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}'
          'table{border-collapse:collapse}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:left}'
          'svg{max-width:100%;height:auto}.trouble{color:#a00}')


def html_page(content: dict) -> str:
    """Page with tables and, for each task, the first metric against parameters, multiply-adds and times."""
    networks = content['networks']
    parts = [f'<h1>Suite {escape(content["suite"])}</h1>', f'<p>{escape(content["description"])}</p>',
             _table(*rows(networks)), *(f'<p>{escape(note)}</p>' for note in notes(content)),
             *(f'<p class="trouble">{escape(line)}</p>' for line in troubles(content))]
    for task in dict.fromkeys(network['task'] for network in networks):
        own = [network for network in networks if network['task'] == task]
        drawn = [network for network in own if network['metrics'][0]['runs']]
        parts.append(f'<h2>{escape(task)}</h2>')
        if drawn:
            parts.append(charts(drawn))
            parts.append(curves(content['runs'], drawn[0]))
        missing = [network['backbone'] for network in own if network not in drawn]
        if missing:
            parts.append(f'<p class="trouble">Without a figure: {escape(", ".join(missing))}</p>')
    comparison = comparison_rows(networks, content['reference'])
    if comparison[1]:
        parts += ['<h2>intervals</h2>', _table(*comparison), f'<p>{escape(comparison_note(networks))}</p>']
    if content['latency']:
        parts += ['<h2>latency</h2>', _table(*latency_rows(networks)), f'<p>{escape(latency_note(content))}</p>']
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(content["suite"])}</title>'
            f'<style>{_STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n')


def _table(head: list[str], body: list[list[str]]) -> str:
    def line(cells, tag):
        return '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    return '<table>' + line(head, 'th') + ''.join(line(cells, 'td') for cells in body) + '</table>'


def charts(networks: list[dict]) -> str:
    """Charts side by side as SVG; bars are the spread over the seeds, rings and the line the Pareto front."""
    against = [one for one in _AGAINST if all(network[one[0]] is not None for network in networks)]
    figure, places = row_of_charts(len(against))
    for axes, (key, unit, label) in zip(places, against):
        points = [(network[key] / unit, network['metrics'][0]['mean']) for network in networks]
        draw(axes, [network['backbone'] for network in networks], points,
             (label, f'{networks[0]["metrics"][0]["label"]}, %'),
             [network['metrics'][0]['spread'] for network in networks])
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
    figure = Figure(figsize=(9, 4.8), layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for number, (backbone, steps) in enumerate(by_backbone.items()):
        x, style = sorted(steps), dict(color=f'C{number % 10}', linestyle=_LINES[number // 10 % len(_LINES)])
        axes.plot(x, [sum(steps[step]) / len(steps[step]) for step in x], label=backbone, **style)
        axes.fill_between(x, [min(steps[step]) for step in x], [max(steps[step]) for step in x], alpha=.12,
                          color=style['color'], linewidth=0)
    axes.set(xlabel='epochs', ylabel=f'{metric["label"]} of the validation, %')
    axes.grid(color='#e4e4e4', linewidth=.8)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', fontsize=8, frameon=False)
    return svg_of(figure, f'{task} curves')
