"""Networks in their runtimes as a table, a chart, and a part of a page."""

import html

from ..charts import add_legend, axes_of_charts, draw, svg_of
from ..output import METRICS, number, table
from .report import MEGABYTE, ratio_text, spread


def main_metric(metrics: dict[str, float]) -> tuple[str, float]:
    """Label and value, in per cent, of the metric that a task is known by."""
    name = next((name for name in METRICS if name in metrics), next(iter(metrics)))
    label, factor = METRICS.get(name, (name, 1))
    return label, factor * metrics[name]


def as_markdown(result: dict) -> str:
    """The table, behind it what there is not."""
    base, threads = result['baselines'][0], result['threads']
    measured = [variant['metrics'] for variant in result['variants'] if variant['metrics']]
    labels = list(dict.fromkeys(main_metric(metrics)[0] for metrics in measured))
    head = ['network', 'as', *(f'{label}, %' for label in labels)]
    for count in threads:
        head += [f'ms, {count} thread{"s" * (count > 1)}', 'quartiles', f'÷ {base} as the same']
    rows = []
    for variant in result['variants']:
        row = [variant['network'], variant['kind'] + ' (no suppression)' * (not variant['complete'])]
        found = main_metric(variant['metrics']) if variant['metrics'] else ('', 0.)
        row += [f'{found[1]:.1f}' if label == found[0] else '–' for label in labels]
        for count in threads:
            timed = variant['timed'][str(count)]
            row += [number(timed['median_ms']), spread(timed['quartiles_ms']),
                    ratio_text(timed['ratios'].get(f'{base}/{variant["kind"]}'))]
        rows.append([*row, f'{variant["bytes"]:,}' if variant['bytes'] else '–',
                     number(variant['memory'] / MEGABYTE) if variant['memory'] else '–', variant['parity']])
    head += ['bytes', 'peak, MB', 'parity']
    lines = [result['machine'], f'{result["rounds"]} rounds in which each variant is measured in turn, from the pixels '
             f'of one image to the result; {result["quiet"]}',
             'parity: the largest difference from the network as it was trained; peak: what loading and one image add '
             'to a fresh process']
    if result['images']:
        lines.append(f'accuracy on {result["images"]} images of the test data')
    text = '\n'.join(f'- {line}' for line in lines) + f'\n\n{table(head, rows)}\n'
    kinds = list(dict.fromkeys(variant['kind'] for variant in result['variants']))
    networks = [name for name in dict.fromkeys(variant['network'] for variant in result['variants']) if name != base]
    if networks and len(kinds) > 1:
        text += f'\nTime over that of {base} as the same, by threads ({", ".join(map(str, threads))}):\n\n'
        rows = [[kind, *(_ratios(result, name, kind) for name in networks)] for kind in kinds]
        text += table(['as', *networks], rows) + '\n'
    if result['notes']:
        notes = html.escape('\n'.join(result['notes']), quote=False)
        text += f'\n<details><summary>What the exports printed</summary><pre>\n{notes}\n</pre></details>\n'
    return text


def _ratios(result: dict, network: str, kind: str) -> str:
    """Of a network in a runtime the time over the last network's, a median for each number of threads."""
    found = [variant['timed'][str(count)]['ratios'].get(f'{result["baselines"][0]}/{kind}')
             for count in result['threads'] for variant in result['variants']
             if (variant['network'], variant['kind']) == (network, kind)]
    return ', '.join(number(ratio['median']) for ratio in found if ratio) or '–'


def chart(result: dict) -> str | None:
    """As SVG, for each runtime the accuracy of the networks against their time in it; None without accuracy."""
    drawn = [variant for variant in result['variants'] if variant['metrics']]
    kinds = list(dict.fromkeys(variant['kind'] for variant in drawn))
    if not kinds:
        return None
    count, everyone = str(result['threads'][0]), list(dict.fromkeys(variant['network'] for variant in drawn))
    figure, places = axes_of_charts(len(kinds))
    for axes, kind in zip(places, kinds):
        own = [variant for variant in drawn if variant['kind'] == kind]
        found = [main_metric(variant['metrics']) for variant in own]
        draw(axes, [variant['network'] for variant in own],
             [(variant['timed'][count]['median_ms'], value) for variant, (_, value) in zip(own, found)],
             (f'ms, {count} thread{"s" * (count != "1")}', f'{found[0][0]}, %'), [None] * len(own),
             everyone)
        axes.set_title(kind)
    add_legend(figure)
    return svg_of(figure, 'bench')
