"""Runs beside those of the same network and seed that ``docs/results`` tells of."""
from mobileode_mm.data.json_file import read_json

from .. import ROOT
from .run import DONE

PUBLISHED = ROOT / 'docs/results'


def beside_published(results: dict) -> list[str]:
    """A line for each run that is done and published: the published figures, and how much higher those here are."""
    path = PUBLISHED / f'{results["suite"]}.json'
    if not path.is_file():
        return []
    names = {(network['task'], network['backbone']): [metric['name'] for metric in network['metrics']]
             for network in results['networks']}
    earlier = {_key(run): run for run in read_json(path)['runs'] if run['status'] == DONE}
    lines = []
    for run in results['runs']:
        other = earlier.get(_key(run))
        if run['status'] == DONE and other:
            found = [f'{name} {run["metrics"][name]:.6g}, published {other["metrics"][name]:.6g} '
                     f'({run["metrics"][name] - other["metrics"][name]:+.2g})'
                     for name in names[run['task'], run['backbone']] if name in other['metrics']]
            lines.append(f'{run["task"]}, {run["backbone"]}, seed {run["seed"]}: {"; ".join(found)}')
    return [f'Beside docs/results/{path.name}:', *lines, ''] if lines else []


def _key(run: dict) -> tuple:
    return run['task'], run['backbone'], run['seed']
