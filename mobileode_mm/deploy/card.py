"""What a published network is: the card beside its weights."""
import os
import platform
from collections.abc import Mapping
from numbers import Real
from pathlib import Path

from mmengine.config import Config
from torch import nn

from ..analysis.scalars import BOOKKEEPING, read_scalars
from ..doctor import DISTRIBUTIONS, installed, version_of
from ..runs.config import leaf_datasets, type_name
from ..version import __version__


def describe(model: nn.Module, cfg: Config, metainfo: dict, meta: dict, checkpoint: str | Path) -> dict:
    """What a card says of a network, but for its file.

    Args:
        model: The network.
        cfg: Its config, with the data roots that its author wrote.
        metainfo: ``classes``.
        meta: The checkpoint's: what the training left there; the rest is None.
        checkpoint: Where it lies: beside it may be the log of its run.
    """
    backbone = getattr(model, 'backbone', None)
    return dict(
        network=type(model).__name__, backbone=backbone and type(backbone).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()), classes=list(metainfo['classes']),
        data={split: describe_data((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
              for split in ('train', 'val')},
        trained={key: meta.get(key) for key in ('epoch', 'iter', 'seed')},
        metrics=logged_metrics(checkpoint, meta), versions=_versions())


def describe_data(dataset: Mapping | None) -> str | None:
    """Type and place of a data set, those of each where it is made of several."""
    if not dataset:
        return None
    places = []
    for leaf in leaf_datasets(dataset):
        parts = [leaf.get('ann_file'), leaf.get('data_prefix'), leaf.get('split')]
        part = next((part for part in parts if part and isinstance(part, str)), '')
        places.append(f'{type_name(leaf)}, {os.path.join(leaf.get("data_root") or "", part)}')
    return ' and '.join(places)


def logged_metrics(checkpoint: str | Path, meta: dict) -> dict[str, float] | None:
    """What the run of a checkpoint measured with it on its validation data; None where no log says.

    The log is looked for where the run left it beside the checkpoint. The name of the run, which MMEngine writes into
    the checkpoint, ends in the time that names the log's folder: a checkpoint that was put into another run's folder
    does not get its figures.
    """
    folder = Path(checkpoint).expanduser().parent
    started = '_'.join(str(meta.get('experiment_name')).split('_')[-2:])
    if not (folder / started / 'vis_data' / 'scalars.json').is_file():
        return None
    scalars = read_scalars(folder)
    done = meta.get('epoch' if scalars.val_unit == 'epoch' else 'iter')
    metrics = next((record for record in scalars.val if record['step'] == done), {})
    return {name: value for name, value in metrics.items()
            if isinstance(value, Real) and name not in BOOKKEEPING} or None


def markdown(card: dict) -> str:
    """The card for people."""
    trained = card['trained']
    rows = {
        'weights': f'`{card["file"]}`, {card["bytes"]:,} bytes',
        'sha256': f'`{card["sha256"]}`',
        'config': f'`{card["config"]}`, whole in `{card["resolved_config"]}`',
        'network': f'{card["network"]}, backbone {card["backbone"]}, {card["parameters"]:,} parameters',
        'classes': f'{len(card["classes"])}: {", ".join(card["classes"])}',
        'training data': card['data']['train'] or 'not known',
        'training': ', '.join(f'{key} {value}' for key, value in trained.items() if value is not None) or 'not known',
        'published with': ', '.join(f'{name} {version}' for name, version in card['versions'].items()),
    }
    if card['half_precision_error'] is not None:
        rows['precision'] = ('half for weights of convolutions and linear layers, which moves outputs for an image of '
                             f'noise by at most {card["half_precision_error"]:.1g} of the largest')
    lines = [f'# {card["name"]}', '', f'Weights for {card["task"]}: tensors alone, with the names of the classes.', '',
             '| | |', '|---|---|', *(f'| {name} | {value} |' for name, value in rows.items()), '', '## Metrics', '']
    if card['metrics'] is None:
        lines.append('Not measured: no log of its run lay beside the checkpoint, or none with an evaluation of it.')
    else:
        lines += [f'As its run measured them on {card["data"]["val"]}:', '', '| metric | value |', '|---|---|',
                  *(f'| {name} | {value:.4g} |' for name, value in card['metrics'].items())]
    return '\n'.join([*lines, '', '## Use', '', '```python', 'from mobileode_mm.apis import Inferencer',
                      f"inferencer = Inferencer('{card['resolved_config']}', '{card['file']}')",
                      "found = inferencer(['image.jpg'])[0]", '```', ''])


def _versions() -> dict[str, str]:
    toolboxes = [distribution for name in DISTRIBUTIONS for family in installed(name) for distribution in family]
    return {'mobileode_mm': __version__, 'Python': platform.python_version(),
            **{name: version_of(name) for name in ('torch', *toolboxes)}}
