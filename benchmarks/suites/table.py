"""Means over the seeds, and the tables of a suite in Markdown."""
from collections.abc import Callable, Collection
from statistics import mean, stdev

from mobileode_mm.errors import listed

from ..machine import are_disturbed
from ..output import METRICS, table
from ..speed.networks import FORM
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
    return ', '.join(parts + _without_figures(network))


def _without_figures(network: dict) -> list[str]:
    return [f'{status}: seed {listed(seeds, 99)}' for status, seeds in network['others'].items()]


def summary(networks: list[dict]) -> str:
    """A table of a line for each backbone: the first metric of each task, and what it costs in all tasks.

    The times in onnxruntime stand there where any was measured.
    """
    by_place = {(network['backbone'], network['task']): network for network in networks}
    tasks = tasks_of(networks)
    costs = [('parameters, M', lambda network: f'{network["parameters"] / 1e6:.2f}'),
             ('MACs, M', lambda network: f'{network["macs"] / 1e6:.1f}')]
    if any(network['onnx_milliseconds'] is not None for network in networks):
        costs.append(('onnxruntime, ms', lambda network: _time_text(network['onnx_milliseconds'])))
    lines = []
    for backbone in dict.fromkeys(network['backbone'] for network in networks):
        own = [by_place.get((backbone, task)) for task in tasks]
        results = [result_text(dict(network, metrics=network['metrics'][:1])) if network else '–' for network in own]
        lines.append([backbone, *results, *(', '.join(text(network) for network in own if network)
                                            for _, text in costs)])
    return table(['backbone', *(f'{task}, %' for task in tasks), *(label for label, _ in costs)], lines)


def _time_text(milliseconds: float | None) -> str:
    return '–' if milliseconds is None else f'{milliseconds:.1f}'


def tasks_of(networks: list[dict]) -> list[str]:
    """The tasks of networks, in their order."""
    return list(dict.fromkeys(network['task'] for network in networks))


def task_rows(networks: list[dict], reference: str | None) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of one task: of each network its figures, what it costs, and its times.

    A column that would say nothing is left out: what became of the runs where all gave figures, the size of the images
    where it is one (:func:`caption` has it), differences where there are none, times that were not measured.
    """
    columns: list[tuple[str, list[str]]] = [('backbone', [network['backbone'] for network in networks])]
    for metrics in zip(*(network['metrics'] for network in networks)):
        columns.append((f'{metrics[0]["label"]}, %', [_mean_text(metric) for metric in metrics]))
        if any(metric['difference'] for metric in metrics):
            columns.append((f'against {reference}', [_difference_text(metric['difference']) for metric in metrics]))
    if any(network['others'] for network in networks):
        columns.append(('runs', [_runs_text(network) for network in networks]))
    columns += [('parameters, M', [f'{network["parameters"] / 1e6:.2f}' for network in networks]),
                ('MACs, M', [f'{network["macs"] / 1e6:.1f}' for network in networks])]
    if len(_sizes(networks)) > 1:
        columns.append(('at', [_size_text(network) for network in networks]))
    for key, label in (('onnx_milliseconds', 'onnxruntime, ms'), ('milliseconds', 'PyTorch, ms')):
        times = [network[key] for network in networks]
        if any(time is not None for time in times):
            columns.append((label, [_time_text(time) for time in times]))
    head, cells = zip(*columns)
    return list(head), [list(row) for row in zip(*cells)]


def _mean_text(metric: dict) -> str:
    if not metric['runs']:
        return '–'
    return f'{metric["mean"]:.1f}' + (f' {_between(metric["interval"], "")}' if metric['interval'] else '')


def _between(interval: dict, sign: str) -> str:
    # Not broken into two lines: no-break spaces.
    return f'[{interval["low"]:{sign}.1f},\xa0{interval["high"]:{sign}.1f}]'


def _difference_text(difference: dict | None) -> str:
    if difference is None:
        return '–'
    said = ('cannot be told apart' if difference['low'] <= 0 <= difference['high'] else
            'better' if difference['low'] > 0 else 'worse')
    return f'{difference["mean"]:+.1f} {_between(difference, "+")}, {said}'


def _runs_text(network: dict) -> str:
    return '; '.join([f'{network["metrics"][0]["runs"]} of {network["seeds"]}', *_without_figures(network)])


def _size_text(network: dict) -> str:
    return '×'.join(map(str, network['input_size']))


def _sizes(networks: list[dict]) -> list[str]:
    return list(dict.fromkeys(map(_size_text, networks)))


def caption(networks: list[dict]) -> str:
    """What stands over the table of one task."""
    sizes = _sizes(networks)
    return f'{networks[0]["task"]}, {sizes[0]} px' if len(sizes) == 1 else networks[0]['task']


def notes(content: dict) -> list[str]:
    """What a reader of the tables has to know: figures, costs, what starts from what, where it comes from."""
    return [' '.join(sentences) for sentences in (
        _figures_note(content), _costs_note(content), _tasks_note(content), _source_note(content)) if sentences]


def _figures_note(content: dict) -> list[str]:
    seeds = listed(content['seeds'], 99)
    figures = 'the last checkpoint of each run, on the test data of its config'
    if len(content['seeds']) == 1:
        return [f'One run each, seed {seeds}: {figures}.']
    return [f'Means over the seeds {seeds}: {figures}.', *interval_note(content['networks'])]


def interval_note(networks: list[dict]) -> list[str]:
    """What the intervals in brackets hold; nothing where there are none."""
    parts = [part for network in networks for metric in network['metrics']
             for part in (metric['interval'], metric['difference']) if part]
    if not parts:
        return []
    with_images = [part['images'] for part in parts]
    if all(with_images):
        of = 'for other seeds and other test images'
    elif any(with_images):
        of = 'for other seeds and, where runs kept figures on draws of them, other test images'
    else:
        of = 'for other seeds alone, as these runs kept nothing of single images'
    by = ', by a bootstrap of 1,000 draws, the same for all networks, for the images' * any(with_images)
    return [f'In brackets 95\xa0% intervals {of}: by Student\'s t for the seeds{by}.',
            'Differences are taken seed by seed. Where the interval of a difference holds 0, the two cannot be told '
            'apart. Each interval is for itself: of twenty equal networks one is told apart by chance.']


def _costs_note(content: dict) -> list[str]:
    costs = ('Parameters that a forward pass reads, and multiply-adds of its convolutions and matrix products, for the '
             'whole network and one image of the size given.')
    return [costs, latency_note(content['latency'])] if content['latency'] else [costs]


def latency_note(latency: dict) -> str:
    """How the times were taken, and whether anything else ran beside them."""
    form = files = ''
    if latency.get('form') == FORM:  # earlier ones timed networks as they were trained, and no files
        form, files = ' in deploy form', ', and as ONNX files in onnxruntime, 1 thread'
    note = (f'Times are medians of {latency["rounds"]} rounds in which the networks of a task{form} take turns, one '
            f'image of random pixels, without decoding and NMS, in PyTorch on the {latency["device"]}, '
            f'{latency["threads"]} thread{"s" * (latency["threads"] > 1)}{files}: {latency["machine"]}.')
    others = latency.get('others')
    if others is not None:
        note += f' Meanwhile other programs kept {max(others, 0):.1f} of {latency["cores"]} cores busy'
        note += ('; the times are disturbed by that. Without latency.json, the next start measures them again.'
                 if are_disturbed(others, latency['cores'], latency['threads']) else '.')
    return note


def _tasks_note(content: dict) -> list[str]:
    starting, left_out = {}, {}
    for task, base in content['starts_from'].items():
        starting.setdefault(base, []).append(task)
    for part in content.get('left_out', []):
        left_out.setdefault(part['task'], []).append(f'{part["backbone"]} ({part["reason"]})')
    return [f'Backbones of {listed(tasks, 99)} start from what the run of {base} with the same seed left.'
            for base, tasks in starting.items()] + [
                f'Left out of {task}: {listed(backbones, 99)}.' for task, backbones in left_out.items()]


def _source_note(content: dict) -> list[str]:
    machines, commits = (list(dict.fromkeys(run[key] for run in content['runs'] if run[key]))
                         for key in ('machine', 'commit'))
    lines = [f'Command: `{content["command"]}`.']
    if machines:
        lines.append(f'Trained on {"; ".join(machines)}; {content["processes"]} process'
                     f'{"es" * (content["processes"] > 1)} a run.')
    if commits:
        changed = ' (+: files were changed)' if any('+' in commit for commit in commits) else ''
        lines.append(f'Commit {listed(commits, 99)}{changed}.')
    return lines


def troubles(content: dict) -> list[str]:
    """A line on each run that gave no figures though it ended."""
    return [f'{run["task"]}, {run["backbone"]}, seed {run["seed"]} {run["status"]}: {run["reason"]}'
            for run in content['runs'] if run['reason']]


def markdown(content: dict) -> str:
    """Page with the tables of a suite, and what a reader of them has to know."""
    return '\n\n'.join(part for part in (f'# Suite `{content["suite"]}`', content['description'], tables(content),
                                         *notes(content)) if part) + '\n'


def tables(content: dict, shown: Collection[str] | None = None, below: Callable[[str], str] = lambda task: '') -> str:
    """The tables of a suite, one for each task, and what became of runs without figures.

    Args:
        content: As ``results.json`` has it.
        shown: The tasks to show; all by default.
        below: What stands below a task's table: its charts.
    """
    parts = []
    for task in tasks_of(content['networks']) if shown is None else shown:
        own = [network for network in content['networks'] if network['task'] == task]
        parts += [f'**{caption(own)}**', table(*task_rows(own, content['reference'])), below(task)]
    parts.append('\n'.join(f'- {line}' for line in troubles(content)))
    return '\n\n'.join(filter(None, parts))
