"""Checkpoints of networks that nobody has trained, where only their time is asked for."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.model import revert_sync_batchnorm

from mobileode_mm.deploy.inputs import fixed_size, preparation
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

from .workloads import calibrate_norms


def untrained_checkpoint(config: str | Path, folder: Path,
                         size: Sequence[int] | None = None) -> tuple[Path, tuple[int, int]]:
    """Write the checkpoint of a config's network: random weights, the norms of a trained one.

    Args:
        config: Config file, whose test pipeline or ``input_size`` says how large the images are.
        folder: Where it is written.
        size: Height and width of the images, where neither of the two says it.

    Returns:
        The checkpoint, and the images' height and width.

    Raises:
        InputError: The config cannot be used.
    """
    cfg = load_config(config)
    _, size = fixed_size(preparation(cfg), size, cfg.model.backbone.get('input_size'))
    with config_scope(cfg), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = revert_sync_batchnorm(build_model(cfg))
        calibrate_norms(model, lambda: model(torch.randn(4, 3, *size), mode='tensor'))
    checkpoint = folder / f'{Path(config).stem}.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return checkpoint, size
