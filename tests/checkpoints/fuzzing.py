"""Mutated checkpoints, JSON and safetensors files, read in processes of their own: ``python fuzzing.py --count 2000``.

Each process makes tiny real files, damages copies of them by a seeded random generator, and reads each as the commands
do. Two ends are right: it is read, or it is refused by an InputError of one line (and lines that list entries).
Anything else is a fault: another exception, a signal, memory that grows beyond ``TIMES`` the file and ``SLACK``.
"""
import argparse
import io
import json
import os
import pickle
import random
import re
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

#: Bytes of memory for each byte of a file, at most, and those that any file may take: a byte of a pickle can stand for
#: an empty container.
TIMES, SLACK = 256, 32 << 20
BATCH = 500
#: Of the page's marks.
MARK = 'fuzz'
NETWORK = dict(type='MobileODEV1', widen_factor=0.1, num_steps=1, input_size=32)
KINDS = {'pth': 'checkpoint', 'old.pth': 'checkpoint, format before torch 1.6', 'pickle': 'pickle in a whole archive',
         'safetensors': 'safetensors', 'json': 'JSON'}


def make_seeds(folder: Path) -> dict[str, bytes]:
    """Real files, by their ending: of a checkpoint of a training in both of torch's formats, weights, annotations."""
    import numpy as np
    import safetensors.torch
    import torch
    from mmengine.logging import MessageHub
    from mmengine.registry import MODELS

    import mobileode_mm  # noqa: F401
    torch.manual_seed(0)
    model = MODELS.build(NETWORK)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(value.sum() for value in model.parameters()).backward()
    optimizer.step()
    hub = MessageHub.get_instance('fuzzing')
    for value in range(5):
        hub.update_scalar('train/loss', value / 2)
    hub.update_info('best_score', np.float64(0.5))
    meta = dict(epoch=1, iter=5, seed=3, cfg='x = 1', dataset_meta=dict(classes=('a', 'b'), palette=np.eye(3)))
    checkpoint = dict(state_dict=model.state_dict(), optimizer=optimizer.state_dict(), message_hub=hub.state_dict(),
                      meta=meta, param_schedulers=[dict(milestones=Counter([3, 5]), last_epoch=1)])
    seeds = {}
    for ending, as_zip in (('pth', True), ('old.pth', False)):
        torch.save(checkpoint, folder / f'seed.{ending}', _use_new_zipfile_serialization=as_zip)
        seeds[ending] = (folder / f'seed.{ending}').read_bytes()
    seeds['safetensors'] = safetensors.torch.save(model.state_dict(), dict(meta=json.dumps(dict(epoch=1, iter=5))))
    seeds['json'] = json.dumps(dict(images=[dict(id=1, file_name='a.jpg', width=3, height=4)], categories=[])).encode()
    return seeds


def damage(data: bytes, generator: random.Random) -> bytes:
    """Change some bytes: flips, pieces removed, doubled or moved, numbers made large, the end cut off."""
    data = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
        # Headers and directories stand at the ends.
        place = generator.randrange(len(data) + 1)
        place = generator.choice((place, place // 20, len(data) - place // 100))
        length = generator.choice((1, 1, 2, 4, 8, 64, 512))
        piece = data[place:place + length]
        kind = generator.randrange(7)
        if kind == 0 and piece:
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[place:place + length] = generator.randbytes(len(piece))
        elif kind == 2:
            del data[place:place + length]
        elif kind == 3:
            data[place:place] = piece * generator.choice((1, 2, 50))
        elif kind == 4:
            other = generator.randrange(len(data) + 1)
            data[other:other + length] = piece
        elif kind == 5:
            data[place:place + 8] = generator.choice((b'\xff' * 8, b'\0' * 8, b'\xff\xff\xff\x7f', b'9' * 8, b'[' * 8))
        elif generator.random() < 0.2:
            del data[place:]
    return bytes(data)


def damage_pickle(data: bytes, generator: random.Random) -> bytes:
    """A checkpoint whose pickle is damaged and whose archive is whole, so that the damage is reached."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in entries if name.endswith('data.pkl'))
    pickled = entries[name]
    if generator.random() < 0.5:
        entries[name] = damage(pickled, generator)
    else:
        # One value for another: of another type, or at another place.
        values = [match.span() for match in re.finditer(rb'K.|M..|J....|N|\x88|\x89|h.|X.\0\0\0[\w.]+', pickled, re.S)]
        (start, end), (first, last) = generator.sample(values, 2)
        other = pickled[first:last] if generator.random() < 0.5 else generator.choice(
            (b'N', b']', b'}', b')', b'X\x01\0\0\0x', b'J\xff\xff\xff\xff', b'\x8a\x08' + b'\xff' * 7 + b'\x7f',
             b'G\x7f\xf8\0\0\0\0\0\0', b'cbuiltins\nbytearray\n', b'(K\x01K\x02t'))
        entries[name] = pickled[:start] + other + pickled[end:]
    target = io.BytesIO()
    with zipfile.ZipFile(target, 'w') as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    return target.getvalue()


def use(path: Path, model) -> None:
    """Read a file as training, testing and resuming do."""
    from mmengine.runner.checkpoint import load_state_dict

    from mobileode_mm.checkpoints.matching import check_checkpoint
    from mobileode_mm.checkpoints.reading import read_checkpoint, state_dict_of
    from mobileode_mm.checkpoints.resuming import find_resume_checkpoint
    from mobileode_mm.data.json_file import read_json
    if path.suffix == '.json':
        read_json(path)
        return
    checkpoint = read_checkpoint(path)
    check_checkpoint(model, checkpoint, path, 'test')
    load_state_dict(model, state_dict_of(checkpoint))
    json.dumps(checkpoint.get('meta', {}), default=repr, skipkeys=True)
    pickle.dumps(checkpoint['meta'])
    if path.suffix == '.pth':
        path.with_name('last_checkpoint').write_text(path.name)
        find_resume_checkpoint(path.parent)


def run_batch(seed: int, count: int) -> int:
    """Read ``count`` damaged files; prints a line for each before it is read and one on how it ended."""
    import warnings

    from mmengine.logging import MMLogger
    from mmengine.registry import MODELS

    from mobileode_mm.errors import InputError
    warnings.simplefilter('ignore')
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    MMLogger.get_instance('mmengine', log_level='CRITICAL')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        seeds['pickle'] = seeds['pth']
        model = MODELS.build(NETWORK)
        for number in range(count):
            generator = random.Random(f'{seed}-{number}')
            kind = generator.choice(list(KINDS))
            data = (damage_pickle if kind == 'pickle' else damage)(seeds[kind], generator)
            path = folder / f'epoch_1.{"pth" if kind == "pickle" else kind}'
            path.write_bytes(data)
            print(json.dumps(dict(number=number, kind=kind, size=len(data))), flush=True)
            Path('/proc/self/clear_refs').write_text('5')  # the peak of memory counts anew
            before = memory('VmRSS')
            try:
                use(path, model)
                end = 'read'
            except InputError as error:
                lines = str(error).splitlines()
                listed = all(line.startswith('  ') for line in lines[1:])
                end = 'refused' if listed and len(str(error)) < 20_000 else f'a message of {len(lines)} lines'
            except BaseException as error:  # of compiled extensions, too
                end = f'{type(error).__name__}: {error}'[:300]
            grown = memory('VmHWM') - before
            if grown > TIMES * len(data) + SLACK:
                end = f'{grown >> 20} MiB for a file of {len(data)} bytes'
            print(json.dumps(dict(number=number, kind=kind, end=end, grown=grown)), flush=True)
    return 0


def memory(name: str) -> int:
    """Bytes that this process holds, or held at its peak."""
    return 1024 * int(re.search(rf'{name}:\s+(\d+)', Path('/proc/self/status').read_text())[1])


def fuzz(count: int, seed: int = 0, batch: int = BATCH) -> tuple[Counter, list[str]]:
    """How many of ``count`` damaged files ended how, by ``(kind, end)``; the faults, with how each is made again."""
    ends, faults = Counter(), []
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    for start in range(0, count, batch):
        size, batch_seed = min(batch, count - start), seed + start
        done = subprocess.run([sys.executable, __file__, '--batch', str(batch_seed), '--count', str(size)], text=True,
                              capture_output=True, env=environment)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
        for line in lines:
            if 'end' in line:
                right = line['end'] in ('read', 'refused')
                ends[line['kind'], line['end'] if right else 'fault'] += 1
                if not right:
                    faults.append(f'--batch {batch_seed}, number {line["number"]}, {line["kind"]}: {line["end"]}')
        if done.returncode:
            last = lines[-1] if lines else None
            faults.append(f'--batch {batch_seed}: status {done.returncode} at {last}: {done.stderr[-500:]}')
    return ends, faults


def main() -> int:
    parser = argparse.ArgumentParser(description='Read damaged files; status 1 where one ends as it may not.')
    parser.add_argument('--count', type=int, default=2000, help='files (default: 2000)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batch', type=int, metavar='SEED', help='run one batch here, and print how each file ends')
    parser.add_argument('--page', metavar='FILE[#NAME]', help='put the table into this page, between its marks of this '
                        f'name (default: {MARK})')
    args = parser.parse_args()
    if args.batch is not None:
        return run_batch(args.batch, args.count)
    from benchmarks.machine import commit, describe_machine
    from benchmarks.output import markdown, page_and_mark, put_into_page
    from mobileode_mm.errors import exit_status

    def work() -> int:
        page, mark = page_and_mark(args.page, MARK)
        ends, faults = fuzz(args.count, args.seed)
        rows = [[what, *(str(ends[kind, end]) for end in ('read', 'refused', 'fault'))] for kind, what in KINDS.items()]
        parts = [dict(head=['file', 'read', 'refused', 'faults'], rows=rows),
                 f'{sum(ends.values())} files, seed {args.seed}, {len(faults)} faults; commit {commit()}; '
                 f'{describe_machine()}.', *faults]
        text = markdown(parts)
        print(text)
        if page:
            put_into_page(page, mark, parts, text)
        return bool(faults)

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
