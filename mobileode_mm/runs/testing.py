"""Testing a checkpoint."""
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook

from ..checkpoints.reading import restricted_loading
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import InputError
from .checks import Checked, check_new, check_run, check_writable
from .config import use_steps
from .processes import once_per_machine, one_voice, process_group
from .runner import (
    InferenceForm,
    StartLines,
    add_hooks,
    annotations_as_checked,
    build_runner,
    disk_faults,
    ready_config,
    reported_faults,
)
from .showing import drawing_hook
from .tta import use_tta


def test(config: str | Path, checkpoint: str | Path, work_dir: str | Path | None = None, out: str | Path | None = None,
         show: bool = False, show_dir: str | Path | None = None, wait_time: float = 2, cfg_options: dict | None = None,
         launcher: str = 'none', trust: bool = False, deploy: bool = True,
         tta: bool = False, steps: int | Sequence[int] | None = None) -> dict[str, float]:
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
        tta: Average the predictions over several views of each image: ``tta_pipeline`` and ``tta_model`` of the config,
            else with and without a flip.
        steps: Of the solvers of a network with ``anytime``: one number, or one for each stage with solvers.

    Returns:
        The metrics by name.

    Raises:
        InputError: Something given cannot be used.
    """
    with one_voice():
        cfg = ready_config(config, 'test', work_dir, cfg_options, launcher)
        use_steps(cfg, steps)
        cfg.load_from, cfg.resume = str(checkpoint), False
        hooks: list[Hook] = [InferenceForm(deploy)]
        notes = []
        if show or show_dir:
            hooks.append(drawing_hook(cfg, show, show_dir and os.path.abspath(show_dir), wait_time))
        if tta:
            wrapping, note = use_tta(cfg)
            hooks.append(wrapping)
            notes.append(note)
        if out:
            out = os.path.abspath(out)
    add_hooks(cfg, 'ProgressBarHook')

    with process_group(cfg), restricted_loading(trust), annotations_as_checked(cfg), disk_faults():
        checked = once_per_machine(lambda: _check(cfg, out, show_dir, trust))
        runner = build_runner(cfg, ('test', ))
        for hook in (*hooks, StartLines(checked.notes + notes, checked.warnings)):
            runner.register_hook(hook)
        if out:
            runner.test_evaluator.metrics.append(_dump(cfg, out))
        with reported_faults(runner, cfg, ('test', )):
            return runner.test()


def _check(cfg: Config, out: str | None, show_dir: str | Path | None, trust: bool) -> Checked:
    if out:
        if Path(out).suffix not in ('.pkl', '.pickle'):
            raise InputError(f'--out {out}: the name must end in .pkl or .pickle')
        check_new(out, '--out')
        check_writable(os.path.dirname(out), 'folder', '--out')
    if show_dir:
        check_new(str(show_dir), '--show-dir')
        check_writable(str(show_dir), 'folder', '--show-dir')
    # The checkpoint stays here: processes tell each other the rest.
    return check_run(cfg, ('test', ), cfg.load_from, 'test', trust)._replace(checkpoint=None)


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
