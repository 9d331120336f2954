"""ncnn, for phones and boards, converted by pnnx from a TorchScript recording."""

import copy
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ...errors import InputError
from ..tasks import Segmentor, Task
from .common import Format, Run, recorded


class Ncnn(Format):
    """One image at a time, (3, H, W), float32, RGB from 0 to 255, as ``ncnn::Mat::from_pixels`` makes it.

    The blobs are ``in0`` and ``out0``, ``out1``: the metadata's ``outputs`` in their order. A segmentor gives the
    classes' maps, whose largest is the mask. The metadata are in a JSON file beside it.
    """

    suffix = '.ncnn.param'
    beside = ('.ncnn.bin', '.ncnn.json')
    extra = 'ncnn'
    writes_with = ('pnnx', )
    runs_with = ('ncnn', )
    free = ('none', )
    why_fixed = 'ncnn reads one image at a time, and pnnx writes the sizes of maps into the file'
    why_no_nms = 'ncnn has no operator of ONNX\'s or torchvision\'s suppression in each class'
    matrices_up_to = 0  # a third of the time of V1's mini detector with products of matrices

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        import pnnx
        planes = example.permute(0, 3, 1, 2).float()
        with tempfile.TemporaryDirectory() as folder:
            recorded(_OnPlanes(_unshared(task)), planes).save(Path(folder, 'network.pt'))
            shape = ','.join(map(str, planes.shape))
            done = subprocess.run([pnnx.EXEC_PATH, 'network.pt', f'inputshape=[{shape}]', 'fp16=0'], cwd=folder,
                                  capture_output=True, text=True, check=False)
            made = [Path(folder, 'network' + suffix) for suffix in (self.suffix, self.beside[0])]
            if done.returncode or not all(one.is_file() for one in made):
                raise InputError(f'pnnx cannot convert the network: {done.stderr.strip()[-500:]}')
            _check_layers(made[0])
            param, binary, described = self.files(path)
            shutil.move(made[0], param)
            shutil.move(made[1], binary)
        described.write_text(json.dumps(metadata, indent=1, ensure_ascii=False), encoding='utf-8')

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        import ncnn
        net = ncnn.Net()
        # Half precision is its own choice where a processor has it.
        for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
            setattr(net.opt, name, False)
        if threads:
            net.opt.num_threads = threads
        param, binary, _ = self.files(path)
        if net.load_param(str(param)) or net.load_model(str(binary)):
            raise InputError(f'ncnn cannot read {param} and {binary.name}')
        metadata = self.metadata(path)
        names = [f'out{number}' for number in range(len(json.loads(metadata['outputs'])))]
        segments = metadata['task'] == 'segmentation'

        def run(image):
            planes = np.ascontiguousarray(image[0].transpose(2, 0, 1), np.float32)
            extractor = net.create_extractor()
            extractor.input('in0', ncnn.Mat(planes))
            found = [np.array(extractor.extract(name)[1])[None] for name in names]
            return [found[0].argmax(1).astype(np.uint8)] if segments else found

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        return json.loads(self.files(path)[-1].read_text(encoding='utf-8'))


class _OnPlanes(nn.Module):
    """A task on what ncnn reads; of a segmentor, its maps before the largest is chosen, which ncnn cannot."""

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def forward(self, planes: Tensor):
        """(1, 3, H, W), float32, from 0 to 255, to the task's outputs."""
        image = planes.permute(0, 2, 3, 1)
        return self.task.logits(image) if isinstance(self.task, Segmentor) else self.task(image)


def _unshared(task: Task) -> Task:
    """A copy in which a module of several names, as layers that maps share, is several: pnnx misreads it otherwise."""
    task = copy.deepcopy(task)
    known = set()
    for parent in reversed(list(task.modules())):  # the inner ones first: a copy has no shared parts then
        for name, child in parent._modules.items():  # named_children() leaves out what comes again
            if child in known:
                setattr(parent, name, copy.deepcopy(child))
            known.add(child)
    return task


def _check_layers(param: Path) -> None:
    """InputError where pnnx has left operators that are no layers of ncnn."""
    kinds = {line.split()[0] for line in param.read_text().splitlines()[2:] if line.strip()}
    foreign = sorted(kind for kind in kinds if '.' in kind or '::' in kind)
    if foreign:
        raise InputError(f'ncnn has no layer for {", ".join(foreign)} of this network')
