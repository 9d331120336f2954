"""``mobileode verify CONFIG``: the checks of a training, without one."""
from pathlib import Path

from ..data.verify.report import Report
from .checks import build_model, config_scope, head_classes
from .config import load_config
from .consistency.checking import Progress, check_data
from .runner import fix_dataloaders


def verify_config(config: str | Path, cfg_options: dict | None = None, seconds: float | None = None,
                  progress: Progress = lambda what: None) -> Report:
    """Check the data of all splits that a config names.

    Args:
        config: Config file.
        cfg_options: Dotted config keys and values that replace the file's.
        seconds: How long the images of each data set are decoded; by default all where they are few, else a sample.
        progress: Gives a ``progress(done, total)`` for the files named.

    Raises:
        InputError: The config cannot be read, or its network not be built.
    """
    cfg = load_config(config, cfg_options)
    fix_dataloaders(cfg)
    splits = ['train', 'val', 'test']
    if all(cfg.get(f'test_{key}') == cfg.get(f'val_{key}') for key in ('dataloader', 'evaluator')):
        splits.remove('test')
    with config_scope(cfg):
        model = build_model(cfg) if cfg.get('model') is not None else None
        return check_data(cfg, splits, head_classes(model) if model is not None else {}, model, seconds=seconds,
                          progress=progress)
