"""Testing a checkpoint."""
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import DumpResults

from ..checkpoints.reading import restricted_loading
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import InputError
from .checks import check_new, check_run, check_writable
from .config import type_name
from .processes import once_per_machine, one_voice, process_group
from .runner import InferenceForm, StartLines, add_hooks, build_runner, disk_faults, ready_config, reported_faults

# Hook and visualizer that draw in each toolbox.
_DRAWING = {
    'mmdet': ('DetVisualizationHook', 'DetLocalVisualizer'),
    'mmseg': ('SegVisualizationHook', 'SegLocalVisualizer'),
    'mmpretrain': ('VisualizationHook', 'UniversalVisualizer'),
}


def test(config: str | Path, checkpoint: str | Path, work_dir: str | Path | None = None, out: str | Path | None = None,
         show: bool = False, show_dir: str | Path | None = None, wait_time: float = 2, cfg_options: dict | None = None,
         launcher: str = 'none', trust: bool = False, deploy: bool = True) -> dict[str, float]:
    """Evaluate a checkpoint on the test data of a config.

    Args:
        config: Config file.
        checkpoint: Its weights; those of another network are refused.
        work_dir: Folder of the log. By default the config's, else ``./work_dirs/<config>``.
        out: ``.pkl`` file for the predictions, one dict per image.
        show: Show the predictions in a window.
        show_dir: Folder for images with the predictions drawn in.
        wait_time: Seconds that a window stands.
        cfg_options: Dotted config keys and values that replace the file's.
        launcher: ``'none'``, or who started the processes: ``'pytorch'``, ``'slurm'``, ``'mpi'``.
        trust: Read a checkpoint that can run code when it is read.
        deploy: Test the deploy form where the network has one: the same predictions, but for rounding, in less time.

    Returns:
        The metrics by name.

    Raises:
        InputError: Something given cannot be used.
    """
    with one_voice():
        cfg = ready_config(config, 'test', work_dir, cfg_options, launcher)
        cfg.load_from, cfg.resume = str(checkpoint), False
        if show or show_dir:
            _draw(cfg, show, show_dir and os.path.abspath(show_dir), wait_time)
        if out:
            out = os.path.abspath(out)
    add_hooks(cfg, 'ProgressBarHook')

    with process_group(cfg), restricted_loading(trust), disk_faults():
        notes = once_per_machine(lambda: _check(cfg, out, show_dir, trust))
        runner = build_runner(cfg, ('test', ))
        runner.register_hook(InferenceForm(deploy))
        runner.register_hook(StartLines(notes))
        if out:
            runner.test_evaluator.metrics.append(_dump(cfg, out))
        with reported_faults(runner, cfg, ('test', )):
            return runner.test()


def _check(cfg: Config, out: str | None, show_dir: str | Path | None, trust: bool) -> list[str]:
    if out:
        if Path(out).suffix not in ('.pkl', '.pickle'):
            raise InputError(f'--out {out}: the name must end in .pkl or .pickle')
        check_new(out, '--out')
        check_writable(os.path.dirname(out), 'folder', '--out')
    if show_dir:
        check_new(str(show_dir), '--show-dir')
        check_writable(str(show_dir), 'folder', '--show-dir')
    return check_run(cfg, ('test', ), cfg.load_from, 'test', trust)[1]


def _draw(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Switch on the toolbox's own visualization hook."""
    if show and os.name == 'posix' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise InputError('--show needs a display, and there is none; use --show-dir')
    scope = cfg.get('default_scope')
    if scope not in _DRAWING:
        raise InputError(f'--show and --show-dir draw with mmdet, mmseg or mmpretrain; the default_scope of '
                         f'{cfg.filename} is {scope}')
    hook_type, visualizer_type = _DRAWING[scope]
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = {}
    if cfg.default_hooks.get('visualization') is None:
        cfg.default_hooks.visualization = dict(type=hook_type)
    if cfg.get('visualizer') is None:
        cfg.visualizer = dict(type=visualizer_type, vis_backends=[dict(type='LocalVisBackend')])
    hook = cfg.default_hooks.visualization
    if show:
        hook.show, hook.wait_time = True, wait_time
    if scope == 'mmpretrain':
        hook.enable, hook.interval, hook.out_dir = True, 1, show_dir
        return
    hook.draw = True
    if scope == 'mmdet':
        hook.test_out_dir = show_dir
    elif show_dir:
        # mmseg's hook knows no folder; the backend that keeps images on the disk does.
        others = [backend for backend in cfg.visualizer.get('vis_backends') or []
                  if type_name(backend) != 'LocalVisBackend']
        cfg.visualizer.vis_backends = [*others, dict(type='LocalVisBackend', img_save_dir=show_dir)]


def _dump(cfg: Config, out: str) -> DumpResults:
    if cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults as Dump
    else:
        Dump = DumpResults

    class WholeDump(Dump):
        """Predictions in a file that appears when it is complete."""

        def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
            # A segmentor's scores for all classes and pixels are many times its label map.
            super().process(data_batch, [{key: value for key, value in sample.items() if key != 'seg_logits'}
                                         for sample in data_samples])

        def compute_metrics(self, results: list) -> dict:
            AtomicLocalBackend().put(pickle.dumps(results), out)
            return {}

    return WholeDump(out)
