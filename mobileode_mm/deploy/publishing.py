"""Weights to pass on: tensors alone, with a card beside them."""
import copy
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ..checkpoints.matching import check_checkpoint
from ..checkpoints.reading import read_checkpoint
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import InputError
from ..inference.inferencer import Inferencer
from ..runs.checks import check_new, check_writable
from .card import describe, markdown

#: How far half precision may move an output of a network, as a share of the largest.
HALF_TOLERANCE = 0.01


def publish(checkpoint: str | Path, config: str | Path, out: str | Path = 'published', format: str = 'pth',
            half: bool = False, trust: bool = False, cfg_options: dict | None = None) -> Path:
    """Write the weights of a checkpoint, without what else a training keeps, and a card.

    The folder gets four files, named after the config and the first eight digits of the weights' SHA-256, as
    OpenMMLab's ``publish_model.py`` does it: the weights, the card as Markdown and as JSON, and the whole config.
    Where an EMAHook was used these are the averaged weights.

    Args:
        checkpoint: Of a training, or a published one.
        config: Config file.
        out: Folder.
        format: ``'pth'`` or ``'safetensors'``. Both hold tensors, names of classes and palette; reading neither can run
            code.
        half: Keep the weights of convolutions and linear layers in half precision. A network that loads them computes
            as before, in its own precision. The solvers' matrices and steps, norms and statistics stay as they are.
        trust: Read a checkpoint that can run code when it is read.
        cfg_options: Dotted config keys and values that replace the file's.

    Returns:
        The file of the weights.

    Raises:
        InputError: Something given cannot be used, what would be written exists already, or half precision moves the
            outputs by more than ``HALF_TOLERANCE``.
    """
    out = Path(out).expanduser()
    check_writable(str(out), 'folder', '--out')
    # Under ``state_dict`` MMEngine saves the weights it would test: with an EMAHook the averages, which the hook puts
    # there before saving, and the trained weights under ``ema_state_dict`` (EMAHook.before_save_checkpoint).
    read = read_checkpoint(checkpoint, trust)
    inferencer = Inferencer(config, checkpoint, 'cpu', trust, cfg_options, deploy=False)
    check_checkpoint(inferencer.model, read, checkpoint, 'publish')
    metainfo = _plain({key: value for key, value in inferencer.metainfo.items() if value is not None})
    halved = _weights(inferencer.model) if half else {}
    error = _round(inferencer, halved) if half else None
    # A copy of each: of a view, the whole storage would be saved.
    state = {name: value.detach().clone(memory_format=torch.contiguous_format)
             for name, value in inferencer.model.state_dict().items()}
    content = _pack({**state, **{name: state[name].half() for name in halved}}, dict(dataset_meta=metainfo), format)

    digest = hashlib.sha256(content).hexdigest()
    name = f'{Path(config).stem}-{digest[:8]}'
    weights, resolved = out / f'{name}.{format}', out / f'{name}.py'
    cards = [out / f'{name}.json', out / f'{name}.md']
    for path in (weights, resolved, *cards):
        check_new(str(path), '--out')
    cfg = _as_written(config, cfg_options)
    card = dict(name=name, task=inferencer.task, file=weights.name, bytes=len(content), sha256=digest,
                config=Path(config).name, resolved_config=resolved.name, half_precision_error=error,
                **describe(inferencer.model, cfg, metainfo, read.get('meta') or {}, checkpoint))
    files = AtomicLocalBackend()
    files.put_text(cfg.pretty_text, resolved)
    files.put_text(json.dumps(card, ensure_ascii=False, indent=1), cards[0])
    files.put_text(markdown(card), cards[1])
    files.put(content, weights)
    return weights


def _pack(state: dict[str, Tensor], meta: dict, format: str) -> bytes:
    """The bytes of a weights file, the same for the same weights."""
    if format == 'safetensors':
        try:
            from safetensors.torch import save
        except ImportError as error:
            raise InputError('--format safetensors needs it: pip install safetensors') from error
        return save(state, metadata=dict(format='pt', meta=json.dumps(meta)))
    # Not straight into a file, whose name torch would write into it.
    buffer = io.BytesIO()
    torch.save(dict(state_dict=state, meta=meta), buffer)
    return buffer.getvalue()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers, by their names in the state dict."""
    return {f'{name}.weight': module.weight.data for name, module in model.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))}


def _round(inferencer: Inferencer, weights: dict[str, Tensor]) -> float:
    """Round weights of a network to half precision; how far that moves its outputs, as a share of the largest."""
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    before = _outputs(inferencer, image)
    for value in weights.values():
        value.copy_(value.half())
    error = float((_outputs(inferencer, image) - before).abs().max() / before.abs().max())
    if not error <= HALF_TOLERANCE:  # nor where weights are too large for it, and become infinite
        raise InputError(f'--half moves the outputs by {error:.2g} of the largest, more than {HALF_TOLERANCE}; publish '
                         'without it')
    return error


@torch.no_grad()
def _outputs(inferencer: Inferencer, image: np.ndarray) -> Tensor:
    """What the head gives for an image, before any decoding, in one row."""
    model = inferencer.model
    data = model.data_preprocessor(pseudo_collate([inferencer.prepare(image)]), False)
    return torch.cat([output.flatten() for output in _tensors(model(**data, mode='tensor'))])


def _tensors(outputs) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for output in outputs:
            yield from _tensors(output)


def _plain(value):
    """Lists, numbers and strings alone, which any reader takes."""
    return json.loads(json.dumps(value, default=lambda array: array.tolist()))


def _as_written(config: str | Path, cfg_options: dict | None) -> Config:
    """The whole config with the data roots of its author, where ``load_config`` has those of this machine."""
    cfg = Config.fromfile(Path(config).expanduser())
    cfg.merge_from_dict(copy.deepcopy(cfg_options or {}))
    return cfg
