"""The same detector in two checkouts of this project, in turn on one machine: what a change costs or saves.

Run as a script by a Python that has everything but this project: ``python benchmarks/speed/checkouts.py BEFORE AFTER``.
Each checkout gets a process that stays, is asked for one sample at a time, and sleeps while the other works.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = 'configs/ssdlite_mobileode.py'
VARIANTS = ('eager', 'deploy', 'compiled', 'deploy, compiled', 'training step')
SIDE = 320
#: Images of a training step.
BATCH = 4
SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('before', type=Path, help='folder of a checkout')
    parser.add_argument('after', type=Path, help='folder of another')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=15, help='samples of each variant (default: 15)')
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=VARIANTS, help='default: all')
    args = parser.parse_args()
    workers = {name: _start(folder.resolve(), args.threads)
               for name, folder in (('before', args.before), ('after', args.after))}
    machine = {name: _ask(worker, '') for name, worker in workers.items()}
    samples = {(name, variant): [] for variant in args.variants for name in workers}
    for _ in range(args.rounds):
        for name, variant in samples:
            samples[name, variant].append(_ask(workers[name], variant))

    def row(title: str, before: str, after: str) -> str:
        before, after = samples['before', before], samples['after', after]
        # Sample by sample, so that what both suffered falls out.
        ratios = [b / a for a, b in zip(before, after)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return (f'| {title} | {statistics.median(before):.1f} | {statistics.median(after):.1f} | {middle:.2f} '
                f'({low:.2f} to {high:.2f}) |')

    print(f'SSDLite with MobileODE V1, {SIDE} px, one image, training step of {BATCH} images; float32, {args.threads} '
          f'threads, {args.rounds} rounds; {machine["after"]}\n')
    print('| | before, ms | after, ms | after / before (quartiles) |\n|---|---|---|---|')
    for variant in args.variants:
        print(row(variant, variant, variant))
    for before, after in (('eager', 'deploy'), ('compiled', 'deploy, compiled')):
        if {before, after} <= {*args.variants}:
            print(row(f'{before} before, {after} after', before, after))


def _start(folder: Path, threads: int) -> subprocess.Popen:
    environment = {**os.environ, 'PYTHONPATH': str(folder), 'OMP_NUM_THREADS': str(threads)}
    errors = tempfile.TemporaryFile('w+')  # read where the worker ends
    worker = subprocess.Popen([sys.executable, __file__, '--worker'], cwd=folder, env=environment, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    worker.errors = errors
    return worker


def _ask(worker: subprocess.Popen, question: str):
    with contextlib.suppress(BrokenPipeError):
        print(question, file=worker.stdin, flush=True)
        for line in worker.stdout:
            if line.startswith('answer: '):
                return json.loads(line.removeprefix('answer: '))
    worker.errors.seek(0)
    raise SystemExit(f'a worker ended with status {worker.wait()}:\n{worker.errors.read()[-2000:]}')


def _work() -> None:
    """Answer with the machine, or with the milliseconds of a call, for each line of the input."""
    from mobileode_mm.memory import keep_freed_memory
    keep_freed_memory()  # as the commands do
    steps = _steps()
    for step in steps.values():
        for _ in range(3):
            step()
    for line in sys.stdin:
        variant = line.strip()
        print('answer: ' + json.dumps(_sample(steps[variant]) if variant else _machine()), flush=True)


def _sample(step) -> float:
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() < begin + SECONDS:
        step()
        calls += 1
    return (time.perf_counter() - begin) / calls * 1e3


def _machine() -> str:
    import torch
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').is_file() else []
    model = next((line.split(': ')[1] for line in lines if line.startswith('model name')), 'unknown processor')
    return f'{model}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}'


def _steps() -> dict:
    """What is measured, by calls that both checkouts know."""
    import copy

    import torch
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.structures import InstanceData
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIG)
    import mmdet.models  # noqa: F401

    import mobileode_mm.detection  # noqa: F401
    init_default_scope('mmdet')
    trained = MODELS.build(cfg.model)
    image = torch.randn(1, 3, SIDE, SIDE)
    models = {'eager': copy.deepcopy(trained).eval(), 'deploy': copy.deepcopy(trained)}
    models['deploy'].switch_to_deploy((SIDE, SIDE))
    for name, compiled in (('eager', 'compiled'), ('deploy', 'deploy, compiled')):
        models[compiled] = copy.deepcopy(models[name])
        for part in (models[compiled].backbone, models[compiled].neck, models[compiled].bbox_head):
            part.forward = torch.compile(part.forward, fullgraph=True, dynamic=False)

    def infer(model):
        with torch.no_grad():
            model(image, mode='tensor')

    optimizer = torch.optim.SGD(trained.train().parameters(), lr=1e-4)
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    boxes = torch.tensor([[32., 32., 192., 224.], [128., 160., 288., 288.]])
    samples = []
    for _ in range(BATCH):
        sample = DetDataSample(metainfo=dict(img_shape=(SIDE, SIDE), batch_input_shape=(SIDE, SIDE),
                                             pad_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]))
        samples.append(sample)

    def train():
        optimizer.zero_grad()
        trained.parse_losses(trained.loss(images, samples))[0].backward()
        optimizer.step()

    return {**{name: lambda model=model: infer(model) for name, model in models.items()}, 'training step': train}


if __name__ == '__main__':
    _work() if sys.argv[1:] == ['--worker'] else main()
