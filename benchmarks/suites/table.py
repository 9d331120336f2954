"""Means over the seeds, and the table of a suite in Markdown."""
from statistics import mean, stdev

from mobileode_mm.errors import listed

from ..machine import UNDISTURBED
from ..output import METRICS, table
from .run import DONE
from .suite import Suite


def summarize(suite: Suite, runs: list[dict], costs: list[dict], latency: dict | None) -> list[dict]:
    """One dict for each network, in the suite's order.

    ``metrics`` has for each metric its mean, its spread (the sample standard deviation over the seeds, None for fewer
    than two) and the number of runs that it is of; ``others`` the runs that gave none, by what became of them.
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
    return summaries


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


def latency_rows(networks: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of timings."""
    return ['task', 'backbone', 'latency, ms', 'onnxruntime, ms'], [
        [network['task'], network['backbone'], f'{network["milliseconds"]:.1f}',
         '–' if network['onnx_milliseconds'] is None else f'{network["onnx_milliseconds"]:.1f}']
        for network in networks if network['milliseconds'] is not None]


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
    if commits:
        changed = ' (+: files were changed)' if any('+' in commit for commit in commits) else ''
        lines.append(f'Commit {listed(commits, 99)}{changed}.')
    return lines


def latency_note(content: dict) -> str:
    """How the timings were taken, and whether anything else ran beside them."""
    latency = content['latency']
    note = (f'Median of {latency["rounds"]} rounds in which the networks of a task take turns, one image of random '
            f'pixels, without decoding and NMS, on the {latency["device"]}, {latency["threads"]} '
            f'thread{"s" * (latency["threads"] > 1)}: {latency["machine"]}. In onnxruntime: the exported file on one '
            'thread of the CPU, from pixels to boxes before suppression, masks or scores; a dash where there is none.')
    others = latency.get('others')
    if others is not None:
        note += f' Meanwhile other programs kept {max(others, 0):.1f} of {latency["cores"]} cores busy'
        note += ('; the times are disturbed by that. Without latency.json, the next start measures them again.'
                 if others > latency['cores'] - latency['threads'] + UNDISTURBED else '.')
    return note


def troubles(content: dict) -> list[str]:
    """A line on each run that gave no figures though it ended."""
    return [f'{run["task"]}, {run["backbone"]}, seed {run["seed"]} {run["status"]}: {run["reason"]}'
            for run in content['runs'] if run['reason']]


def markdown(content: dict) -> str:
    """Page with the tables of a suite."""
    parts = [f'# Suite `{content["suite"]}`', content['description'], table(*rows(content['networks'])),
             *notes(content)]
    if troubles(content):
        parts.append('\n'.join(f'- {line}' for line in troubles(content)))
    if content['latency']:
        parts += [table(*latency_rows(content['networks'])), latency_note(content)]
    return '\n\n'.join(part for part in parts if part) + '\n'
