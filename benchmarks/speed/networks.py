"""One image through whole networks that take turns: in PyTorch in deploy form, and their ONNX files in onnxruntime."""
import contextlib
import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mobileode_mm.backbones import Deployable
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope

from ..machine import OtherPrograms, describe_machine
from .sampling import clock_of, quartiles, sample_in_turn

#: In what form networks are timed.
FORM = 'deploy'


@contextlib.contextmanager
def building(cfg: Config) -> Iterator[nn.Module]:
    """The network of a config, built; its toolbox's registries are in force meanwhile."""
    with config_scope(cfg):
        yield build_model(cfg)


def time_networks(networks: Mapping[str, tuple[Config, Sequence[int]]], device: torch.device,
                  rounds: int) -> dict[str, dict[str, float | None]]:
    """Median milliseconds of one image of random pixels, the networks in turn.

    In PyTorch in deploy form, without pre- and post-processing; then the ONNX files, from pixels to boxes before
    suppression, masks or scores, in onnxruntime on one thread, of the networks that can be exported.

    Args:
        networks: By name a config, and height and width of the image.
        device: Where PyTorch computes.
        rounds: How often each is run.

    Returns:
        By name ``milliseconds`` and ``onnx_milliseconds``, which is None where there is no file.
    """
    steps, files = {}, {}
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, (cfg, size) in networks.items():
            model = stack.enter_context(building(cfg)).eval()
            call = _in_onnxruntime(cfg, model, size, place / f'{len(steps)}.onnx')
            if call:
                files[name] = call
            model.to(device)
            if isinstance(model, Deployable):
                model.switch_to_deploy()
            x = torch.randn(1, 3, *size, device=device)
            steps[name] = lambda model=model, x=x: model(x, mode='tensor')
        with torch.inference_mode():
            samples = sample_in_turn(steps, rounds, clock=clock_of(device))
        in_files = sample_in_turn(files, rounds)
    return {name: dict(milliseconds=quartiles(samples[name])[1],
                       onnx_milliseconds=quartiles(in_files[name])[1] if name in in_files else None)
            for name in samples}


def timed(times: list[dict] | dict[str, dict], rounds: int, device: torch.device, others: OtherPrograms) -> dict:
    """Times of :func:`time_networks` with how they were taken, and how busy other programs were since ``others``."""
    return dict(times=times, rounds=rounds, form=FORM, device=device.type, others=others.busy(), cores=os.cpu_count(),
                threads=torch.get_num_threads(), machine=describe_machine(device))


def _in_onnxruntime(cfg: Config, model: nn.Module, size: Sequence[int],
                    path: Path) -> Callable[[], object] | None:
    """A call of a network's ONNX file on one thread; None where it cannot be exported, or the extra is absent."""
    from mobileode_mm.deploy import tasks
    from mobileode_mm.deploy.exporting import file_copy
    from mobileode_mm.deploy.formats import load, needed, write
    from mobileode_mm.inference.inferencer import TASKS
    height, width = size
    image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    try:
        needed('onnx', False)
        deployed = file_copy(revert_sync_batchnorm(copy.deepcopy(model)), (height, width))
        whole = tasks.TASKS[TASKS[cfg.default_scope]][0](deployed, True)
        write(whole.eval(), image, 'none', 'onnx', path, {})
    except InputError:
        return None
    run, pixels = load(path, 'onnx', 1), image.numpy()
    return lambda: run(pixels)
