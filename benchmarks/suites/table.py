"""Means over the seeds, and the table of a suite in Markdown."""
from statistics import mean, stdev

from mobileode_mm.errors import listed

from ..machine import are_disturbed
from ..output import METRICS, table
from .intervals import interval
from .resampling import unpacked
from .run import DONE
from .suite import Suite


def factor_of(metric: str) -> float:
    """What makes a per cent of a metric."""
    return METRICS.get(metric, (metric, 1))[1]


def summarize(suite: Suite, runs: list[dict], costs: list[dict], latency: dict | None) -> list[dict]:
    """One dict for each network, in the suite's order.

    ``metrics`` has for each metric its mean, its spread (the sample standard deviation over the seeds, None for fewer
    than two), the number of runs that it is of, and what :func:`add_intervals` adds; ``others`` the runs that gave
    none, by what became of them.
    """
    times = {(time['task'], time['backbone']): time for time in (latency or {}).get('times', [])}
    summaries = []
    for network, cost in zip(suite.networks, costs):
        own = [run for run in runs if (run['task'], run['backbone']) == (network.task, network.backbone)]
        done = [run['metrics'] for run in own if run['status'] == DONE]
        metrics = []
        for name in network.metrics:
            label, factor = METRICS.get(name, (name, 1))
            values = [factor * metrics[name] for metrics in done]
            metrics.append(dict(
                name=name, label=label, runs=len(values), mean=mean(values) if values else None,
                spread=stdev(values) if len(values) > 1 else None))
        others = {}
        for run in own:
            if run['status'] != DONE:
                others.setdefault(run['status'], []).append(run['seed'])
        summaries.append(dict(
            task=network.task, backbone=network.backbone, input_size=list(network.input_size), metrics=metrics,
            others=others, seeds=len(own), parameters=cost['parameters'], macs=cost['macs'],
            **{key: times.get((network.task, network.backbone), {}).get(key)
               for key in ('milliseconds', 'onnx_milliseconds')}))
    add_intervals(summaries, runs, suite.reference)
    return summaries


def add_intervals(networks: list[dict], runs: list[dict], reference: str | None) -> None:
    """Give each metric of each network its interval, and its difference to the reference's, seed by seed.

    ``interval`` and ``difference`` are dicts of :class:`~benchmarks.suites.intervals.Interval`, in the table's units,
    or None: for fewer than two seeds, and for what there is nothing to compare with.

    Args:
        networks: As :func:`summarize` makes them; changed.
        runs: Their runs; with ``resampled`` where there are figures on draws of the test images.
        reference: Backbone that the others are compared with.
    """

    def figures(task, backbone, name):
        for run in runs:
            if (run['task'], run['backbone'], run['status']) == (task, backbone, DONE):
                drawn = run.get('resampled', {}).get(name)
                yield run['seed'], (factor_of(name) * run['metrics'][name], None if drawn is None else unpacked(drawn))

    for network in networks:
        for metric in network['metrics']:
            own = dict(figures(network['task'], network['backbone'], metric['name']))
            other = {} if network['backbone'] == reference else dict(
                figures(network['task'], reference, metric['name']))
            differences = [(own[seed][0] - other[seed][0],
                            None if own[seed][1] is None or other[seed][1] is None else own[seed][1] - other[seed][1])
                           for seed in own if seed in other]
            for key, pairs in (('interval', list(own.values())), ('difference', differences)):
                found = interval([value for value, _ in pairs], [drawn for _, drawn in pairs])
                metric[key] = None if found is None else found._asdict()


def result_text(network: dict) -> str:
    """Figures of a network with their spread, and what became of the runs that have none."""
    parts = []
    for metric in network['metrics']:
        if metric['runs']:
            spread = '' if metric['spread'] is None else f' ± {metric["spread"]:.1f}'
            parts.append(f'{metric["label"]} {metric["mean"]:.1f}{spread}')
    parts += [f'{status}: seed {listed(seeds, 99)}' for status, seeds in network['others'].items()]
    return ', '.join(parts)


def rows(networks: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of results; nothing in it is a timing."""
    head = ['task', 'backbone', 'result, %', 'runs', 'parameters, M', 'MACs, M', 'at']
    return head, [[
        network['task'], network['backbone'], result_text(network),
        f'{network["metrics"][0]["runs"]} of {network["seeds"]}', f'{network["parameters"] / 1e6:.2f}',
        f'{network["macs"] / 1e6:.1f}', '×'.join(map(str, network['input_size']))] for network in networks]


def summary(networks: list[dict]) -> str:
    """A table of a line for each backbone: the first metric of each task, parameters and multiply-adds of all tasks."""
    by_place = {(network['backbone'], network['task']): network for network in networks}
    tasks = list(dict.fromkeys(network['task'] for network in networks))
    lines = []
    for backbone in dict.fromkeys(network['backbone'] for network in networks):
        own = [by_place.get((backbone, task)) for task in tasks]
        results = [result_text(dict(network, metrics=network['metrics'][:1])) if network else '–' for network in own]
        costs = [', '.join(f'{network[key] / 1e6:.{digits}f}' for network in own if network)
                 for key, digits in (('parameters', 2), ('macs', 1))]
        lines.append([backbone, *results, *costs])
    return table(['backbone', *(f'{task}, %' for task in tasks), 'parameters, M', 'MACs, M'], lines)


def comparison_rows(networks: list[dict], reference: str | None) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of intervals and of differences to the reference; empty where there is one seed."""
    head = ['task', 'backbone', 'figure', 'mean and interval, %']
    head += [f'against {reference}', ''] if reference else []
    lines = []
    for network in networks:
        for metric in network['metrics']:
            own, difference = metric['interval'], metric['difference']
            if own is None:
                continue
            line = [network['task'], network['backbone'], metric['label'],
                    f'{own["mean"]:.1f} [{own["low"]:.1f}, {own["high"]:.1f}]']
            if reference:
                line += ['–', ''] if difference is None else [
                    f'{difference["mean"]:+.1f} [{difference["low"]:+.1f}, {difference["high"]:+.1f}]',
                    'cannot be told apart' if difference['low'] <= 0 <= difference['high'] else
                    'better' if difference['low'] > 0 else 'worse']
            lines.append(line)
    return head, lines


def comparison_note(networks: list[dict]) -> str:
    """What the intervals hold."""
    parts = [part for network in networks for metric in network['metrics']
             for part in (metric['interval'], metric['difference']) if part]
    with_images = [part['images'] for part in parts]
    if all(with_images):
        of = 'for other seeds and other test images'
    elif any(with_images):
        of = 'for other seeds and, where runs kept figures on draws of them, other test images'
    else:
        of = 'for other seeds alone, as these runs kept nothing of single images'
    by = ', by a bootstrap of 1,000 draws, the same for all networks, for the images' * any(with_images)
    return (f'95 % intervals {of}: by Student\'s t for the seeds{by}. Differences are taken seed by seed. Where the '
            'interval of a difference holds 0, the two cannot be told apart. Each interval is for itself: of twenty '
            'equal networks one is told apart by chance.')


def latency_rows(networks: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of timings."""
    timed = [network for network in networks if network['milliseconds'] is not None]
    head = ['task', 'backbone', 'latency, ms']
    lines = [[network['task'], network['backbone'], f'{network["milliseconds"]:.1f}'] for network in timed]
    in_files = [network['onnx_milliseconds'] for network in timed]
    if any(value is not None for value in in_files):  # earlier results have none
        head.append('onnxruntime, ms')
        for line, value in zip(lines, in_files):
            line.append('–' if value is None else f'{value:.1f}')
    return head, lines


def notes(content: dict) -> list[str]:
    """What a reader of the table of results has to know."""
    seeds = len(content['seeds'])
    of = 'one run each, seed' if seeds == 1 else 'mean ± sample standard deviation over the seeds'
    machines = list(dict.fromkeys(run['machine'] for run in content['runs'] if run['machine']))
    commits = list(dict.fromkeys(run['commit'] for run in content['runs'] if run['commit']))
    lines = [
        f'`{content["command"]}`; {of} {listed(content["seeds"], 99)}; the last checkpoint of each run, on the test '
        'data of its config.',
        'Parameters that a forward pass reads, and multiply-adds of its convolutions and matrix products, for the '
        'whole network and one image of the size given.']
    lines += [f'Backbones of {task} start from what the run of {base} with the same seed left.'
              for task, base in content['starts_from'].items()]
    if machines:
        lines.append(f'Trained on {"; ".join(machines)}; {content["processes"]} process'
                     f'{"es" * (content["processes"] > 1)} a run.')
    lines += [f'Left out: {part["task"]} with {part["backbone"]}: {part["reason"]}.'
              for part in content.get('left_out', [])]
    if commits:
        changed = ' (+: files were changed)' if any('+' in commit for commit in commits) else ''
        lines.append(f'Commit {listed(commits, 99)}{changed}.')
    return lines


def latency_note(content: dict) -> str:
    """How the timings were taken, and whether anything else ran beside them."""
    latency = content['latency']
    form = ' in deploy form' if latency.get('form') == 'deploy' else ''
    note = (f'Median of {latency["rounds"]} rounds in which the networks of a task{form} take turns, one image of '
            f'random pixels, without decoding and NMS, in PyTorch on the {latency["device"]}, {latency["threads"]} '
            f'thread{"s" * (latency["threads"] > 1)}: {latency["machine"]}.')
    others = latency.get('others')
    if others is not None:
        note += f' Meanwhile other programs kept {max(others, 0):.1f} of {latency["cores"]} cores busy'
        note += ('; the times are disturbed by that. Without latency.json, the next start measures them again.'
                 if are_disturbed(others, latency['cores'], latency['threads']) else '.')
    return note


def troubles(content: dict) -> list[str]:
    """A line on each run that gave no figures though it ended."""
    return [f'{run["task"]}, {run["backbone"]}, seed {run["seed"]} {run["status"]}: {run["reason"]}'
            for run in content['runs'] if run['reason']]


def markdown(content: dict) -> str:
    """Page with the tables of a suite."""
    return '\n\n'.join(part for part in (f'# Suite `{content["suite"]}`', content['description'], tables(content))
                       if part) + '\n'


def tables(content: dict) -> str:
    """The tables of a suite, and what a reader of them has to know."""
    parts = [table(*rows(content['networks'])), *notes(content)]
    if troubles(content):
        parts.append('\n'.join(f'- {line}' for line in troubles(content)))
    comparison = comparison_rows(content['networks'], content['reference'])
    if comparison[1]:
        parts += [table(*comparison), comparison_note(content['networks'])]
    if content['latency']:
        parts += [table(*latency_rows(content['networks'])), latency_note(content)]
    return '\n\n'.join(parts)
