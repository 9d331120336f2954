"""Checkpoints that a stranger made: nothing in a file runs, crashes, or takes memory beyond its size."""
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileode_mm.checkpoints.matching import check_checkpoint
from mobileode_mm.checkpoints.reading import read_checkpoint
from mobileode_mm.checkpoints.resuming import find_resume_checkpoint
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError


def refused(content, path, what=r'besides weights it holds .*any code', **options):
    torch.save(content, path, **options)
    with pytest.raises(InputError, match=what) as caught:
        read_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 2000


class Reduced:
    """Pickled as a call, and a state, of the test's choice."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


WEIGHTS = dict(weight=torch.arange(3.))


@pytest.mark.parametrize('array', [
    np.array([1, 'a'], object), np.array(['a', 'b']), np.array([b'a']), np.zeros(2, 'V8'),
    np.zeros(2, [('a', 'f4'), ('b', 'O')]), np.zeros(2, 'M8[s]'), np.array([object()], object)[0:0], np.dtype('O'),
    np.dtype([('a', 'f4')]), np.str_('a')], ids=lambda array: str(getattr(array, 'dtype', array)))
@pytest.mark.parametrize('as_zip', [True, False])
def test_only_arrays_of_numbers_are_rebuilt(array, as_zip, tmp_path):
    for content in (dict(state_dict=WEIGHTS, meta=dict(deep=[(array, )])), dict(state_dict=WEIGHTS, extra=array)):
        refused(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=as_zip)


def test_raw_bytes_never_become_pointers(tmp_path):
    """An object array whose dtype says that it holds no objects."""
    core = (getattr(np, '_core', None) or np.core).multiarray
    dtype = Reduced(np.dtype, ('O8', False, True), (3, '|', None, None, None, -1, -1, 0))
    array = Reduced(core._reconstruct, (np.ndarray, (0, ), b'b'), (1, (2, ), dtype, False, b'\x41' * 16))
    refused(dict(state_dict=WEIGHTS, meta=dict(array=array)), tmp_path / 'x.pth')
    disguised = Reduced(np.dtype, ('f8', False, True), (3, '|', (np.dtype('f8'), (2, )), None, None, -1, -1, 0))
    array = Reduced(core._reconstruct, (np.ndarray, (0, ), b'b'), (1, (2, ), disguised, False, b'\x41' * 16))
    refused(dict(state_dict=WEIGHTS, meta=dict(array=array)), tmp_path / 'x.pth')


@pytest.mark.parametrize('item', [
    Reduced(bytearray, (2**40, )), Reduced(torch.Tensor, (2**20, 2**20)), Reduced(torch.FloatStorage, (2**40, )),
    Reduced(os.mkdir, ('made', )), Reduced(getattr, (np.ndarray, 'tofile')), Reduced(range, (3, )), 3 + 0j, Path('x'),
], ids=['bytearray', 'tensor', 'storage', 'mkdir', 'getattr', 'range', 'number', 'path'])
def test_nothing_is_called_that_weights_do_not_need(item, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if isinstance(item, complex):
        torch.save(dict(state_dict=WEIGHTS, meta=dict(number=item)), 'x.pth')
        assert read_checkpoint('x.pth')['meta']['number'] == item
        return
    refused(dict(state_dict=WEIGHTS, meta=dict(item=item)), 'x.pth')
    assert os.listdir() == ['x.pth']


@pytest.mark.parametrize('size, stride, offset', [((2**40, ), (1, ), 0), ((2**40, ), (0, ), 0), ((3, ), (2**61, ), 0),
                                                  ((3, ), (1, ), 1), ((3, ), (-1, ), 2), ((2**32, 2**32), (1, 1), 0)])
def test_a_tensor_is_no_larger_than_its_storage(size, stride, offset, tmp_path):
    class Tensor(torch.Tensor):
        def __reduce_ex__(self, protocol):
            storage = torch.storage.TypedStorage(wrap_storage=self.untyped_storage(), dtype=self.dtype, _internal=True)
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    weight = torch.arange(3.).as_subclass(Tensor)
    refused(dict(state_dict=dict(WEIGHTS, other=weight)), tmp_path / 'x.pth', 'is no checkpoint, or a torn one')


def test_what_trainings_hold_is_read_as_torch_reads_it(tmp_path):
    transposed = torch.arange(6.).reshape(2, 3).t()
    state = OrderedDict(a=transposed, b=transposed[1:], c=torch.tensor([True, False]), d=torch.zeros(0, 4),
                        e=torch.nn.Parameter(torch.ones(2)), f=torch.arange(3, dtype=torch.bfloat16), g=torch.tensor(7))
    state._metadata = OrderedDict({'': dict(version=1)})
    meta = dict(big=np.arange(6).reshape(2, 3)[:, ::-1], fortran=np.asfortranarray(np.eye(2)),
                foreign=np.arange(3, dtype='>i4'), none=np.zeros((0, 2)),
                bools=np.array([True, False]), scalar=np.float32(0.5), raw=b'\xff\0', empty=b'',
                numbers={1, 2}, counts=Counter('aab'), size=torch.Size((1, 2)), dtype=torch.int8, kind=np.dtype('>f4'),
                device=torch.device('cuda', 1), nested=[None, (True, 1.5, {2: 'b'})], large=10**40)
    for as_zip in (True, False):
        torch.save(dict(state_dict=state, meta=meta), tmp_path / 'x.pth', _use_new_zipfile_serialization=as_zip)
        read = read_checkpoint(tmp_path / 'x.pth')
        trusted = read_checkpoint(tmp_path / 'x.pth', trust=True)
        for name, value in trusted['state_dict'].items():
            mine = read['state_dict'][name]
            assert torch.equal(mine, value) and mine.dtype == value.dtype and mine.stride() == value.stride()
        assert type(read['state_dict']['e']) is torch.nn.Parameter
        assert read['state_dict']._metadata == state._metadata
        assert len({read['state_dict'][name].untyped_storage().data_ptr() for name in 'ab'}) == 1
        for name, value in trusted['meta'].items():
            mine = read['meta'][name]
            assert type(mine) is type(value) and np.array_equal(mine, value) if isinstance(value, np.ndarray) \
                else (type(mine), mine) == (type(value), value), name
        read['meta']['big'] += 1  # it can be written to


def test_booleans_are_zero_or_one(tmp_path):
    """Other bytes are undefined behaviour in compiled code."""
    for as_zip in (True, False):
        values = torch.tensor([3, 0, 255, 1], dtype=torch.uint8)
        torch.save(dict(state_dict=dict(values=values.view(torch.bool))), tmp_path / 'x.pth',
                   _use_new_zipfile_serialization=as_zip)
        read = read_checkpoint(tmp_path / 'x.pth')['state_dict']['values']
        assert read.dtype == torch.bool and read.view(torch.uint8).tolist() == [1, 0, 1, 1]

    class Bytes(torch.Tensor):
        def __reduce_ex__(self, protocol):
            return torch._utils._rebuild_tensor_v3, (
                self.untyped_storage(), 0, (4, ), (1, ), False, OrderedDict(), torch.bool)

    refused(dict(state_dict=dict(values=values.as_subclass(Bytes))), tmp_path / 'x.pth', 'or a torn one')


def archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as target:
        for name, content in entries:
            target.writestr(name, content)


def memory_of_reading(path):
    """Status, error output, and MiB that the process grew by."""
    script = ('import resource, sys\nfrom mobileode_mm.checkpoints.reading import read_checkpoint\n'
              'from mobileode_mm.errors import InputError\n'
              'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\nbefore = peak()\n'
              'for path in sys.argv[1:]:\n'
              '    try:\n        read_checkpoint(path)\n    except InputError as error:\n        print(error)\n'
              'print(peak() - before)')
    done = subprocess.run([sys.executable, '-c', script, *map(str, path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *messages, grown = done.stdout.splitlines()
    return messages, int(grown)


def test_bombs_are_refused_before_they_grow(tmp_path):
    files = {}
    torch.save(dict(state_dict=dict(weight=torch.zeros(2**20))), tmp_path / 'small.pth')
    with zipfile.ZipFile(tmp_path / 'small.pth') as small:
        entries = [(name, bytes(2**28) if name.endswith('data/0') else small.read(name)) for name in small.namelist()]
    archive(tmp_path / 'deflated.pth', entries, zipfile.ZIP_DEFLATED)
    files['deflated.pth'] = 'are compressed'
    # Many entries of the same bytes.
    whole = (tmp_path / 'small.pth').read_bytes()
    start = whole.index(b'PK\x01\x02')
    record = whole.index(b'small/data/0', start)
    entry = whole[record - 46:whole.index(b'PK\x01\x02', record)]
    copies = b''.join(entry.replace(b'data/0', b'data/%c' % number) for number in range(97, 123))
    directory = whole[start:whole.index(b'PK\x06\x06')] + copies
    count = directory.count(b'PK\x01\x02')
    (tmp_path / 'overlapping.pth').write_bytes(whole[:start] + directory + struct.pack(
        '<4s4H2LH', b'PK\x05\x06', 0, 0, count, count, len(directory), start, 0))
    files['overlapping.pth'] = 'overlap'
    # A size that lies, and pickles that ask for much.
    lying = bytearray((tmp_path / 'small.pth').read_bytes())
    place = lying.rindex(b'small/data/0') - 46
    lying[place + 20:place + 28] = struct.pack('<2L', 2**31, 2**31)
    (tmp_path / 'lying.pth').write_bytes(lying)
    files['lying.pth'] = 'overlap'
    for name, pickled in {
            'memo': b'\x80\x02Nr\xff\xff\xff\x7f.', 'text': b'\x80\x02X\xff\xff\xff\xffabc.',
            'bytes': b'\x80\x02\x96' + struct.pack('<Q', 2**40) + b'.',
            'deep': b'\x80\x02' + b'(' * 10**5 + b't' * 10**5 + b'.',
            'itself': b'\x80\x02]q\x00h\x00a.',
            'laughs': b'\x80\x02]' + b''.join(b'q%c](h%ch%ce' % (n, n, n) for n in range(60)) + b'.',
    }.items():
        archive(tmp_path / f'{name}.pth', [('x/data.pkl', pickled), ('x/version', '3')])
        files[f'{name}.pth'] = 'is no checkpoint, or a torn one|holds no weights'
    legacy = b''.join(pickle.dumps(value, 2) for value in (
        0x1950a86a20f9469cfc6c, 1001, dict(little_endian=True)))
    storage = (b'\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpu\x8a\x06'
               + b'\xff' * 5 + b'\x0fNtQ.')
    (tmp_path / 'legacy.pth').write_bytes(legacy + storage)
    files['legacy.pth'] = 'is no checkpoint, or a torn one'
    messages, grown = memory_of_reading(tmp_path / name for name in files)
    assert len(messages) == len(files)
    for message, (name, what) in zip(messages, files.items()):
        assert name in message and any(words in message for words in what.split('|')), message
    assert grown < 250, 'MiB; 1 GiB and more where one of them is read'


def test_a_checkpoint_that_was_damaged_is_not_read(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.ones(100))), tmp_path / 'x.pth')
    data = bytearray((tmp_path / 'x.pth').read_bytes())
    data[data.index(b'\0\0\x80?' * 100)] ^= 1
    (tmp_path / 'x.pth').write_bytes(data)
    with pytest.raises(InputError, match='or a torn one .*CRC'):
        read_checkpoint(tmp_path / 'x.pth')


ODD = {
    'meta is no dict': (dict(meta=[1]), 'its meta is no dict'),
    'names of meta': (dict(meta={1: 2}), 'its meta is no dict of names'),
    'epoch': (dict(meta=dict(epoch='one', iter=3)), r'its meta\.epoch is one'),
    'iter': (dict(meta=dict(epoch=1, iter=-3)), r'its meta\.iter is -3'),
    'seed': (dict(meta=dict(seed=2**80)), r'its meta\.seed is 12089'),
    'data set': (dict(meta=dict(dataset_meta=[3])), r'its meta\.dataset_meta is no dict'),
    'classes': (dict(meta=dict(dataset_meta=dict(CLASSES=[1, 2]))), 'its classes are no list of names'),
    'names of weights': (dict(state_dict={3: torch.zeros(1), 'a': torch.zeros(1)}), 'something else than text'),
    'a number of NumPy': (dict(meta=dict(epoch=np.float64(1.5))), r'its meta\.epoch is 1\.5'),
    'a name of two lines': (dict(state_dict={'a\nb': torch.zeros(1)}), 'something else than text'),
    'names of parts': ({5: 3}, 'something else than text'),
}


@pytest.mark.parametrize('odd', ODD)
def test_odd_contents_are_named_in_one_line(odd, tmp_path):
    content, what = ODD[odd]
    refused(dict(dict(state_dict=WEIGHTS), **content) if 5 not in content else {**content, 'state_dict': WEIGHTS},
            tmp_path / 'x.pth', what)


def test_weights_that_are_no_tensors_are_of_another_shape(tmp_path):
    torch.save(dict(state_dict=dict(WEIGHTS, bias=[1, 2], scale=np.ones(3))), tmp_path / 'x.pth')
    network = torch.nn.Module()
    for name in ('weight', 'bias', 'scale'):
        network.register_parameter(name, torch.nn.Parameter(torch.zeros(3)))
    notes = None
    with pytest.raises(InputError, match=r'1 of another shape: bias \(\) instead of \(3,\)|2 of another shape'):
        notes = check_checkpoint(network, read_checkpoint(tmp_path / 'x.pth'), 'x.pth', 'test')
    assert notes is None


def test_no_meta_is_an_empty_one(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, meta=None), tmp_path / 'epoch_1.pth')
    assert read_checkpoint(tmp_path / 'epoch_1.pth')['meta'] == {}
    with pytest.raises(InputError, match='does not say which iteration'):
        find_resume_checkpoint(tmp_path)


@pytest.mark.parametrize('marker', [b'\xff\xfe\x00', b'a' * 10**6, b'epoch_1.pth\nepoch_2.pth', b'a\0b', b'\n\n', b'..',
                                    b'/'])
def test_last_checkpoint_may_hold_anything(marker, tmp_path):
    torch.save(dict(state_dict=WEIGHTS, meta=dict(epoch=1, iter=4)), tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_bytes(marker)
    path, _ = find_resume_checkpoint(tmp_path)
    assert path == str(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize('address', [
    'http://[::1', 'http://[::1/a.pth', 'https://', 'http://127.0.0.1:9/' + 'a' * 10**5, 'http://127.0.0.1:99999999/a',
    'http://127.0.0.1:9/%00/..', 'http://\udcff/a', 'a\0b.pth', 'a' * 10**5 + '.pth', '://', 'a\0.safetensors'])
def test_addresses_and_names_that_are_none(address, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    with pytest.raises(InputError) as caught:
        read_checkpoint(address)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 2000


def safetensors(path, header: bytes, data=b'\0' * 12):
    path.write_bytes(struct.pack('<Q', len(header)) + header + data)


@pytest.mark.parametrize('meta, what', [
    ('[' * 10**5, 'or a torn one'), ('9' * 10**5, 'or a torn one'), ('[1]', 'its meta is no'),
    ('{"epoch": "x"}', r'meta\.epoch'), ('"a"', 'its meta is no')], ids=['deep', 'long', 'list', 'epoch', 'text'])
def test_safetensors_with_odd_metadata(meta, what, tmp_path):
    pytest.importorskip('safetensors', reason='needs safetensors')
    header = dict(__metadata__=dict(meta=meta), weight=dict(dtype='F32', shape=[3], data_offsets=[0, 12]))
    safetensors(tmp_path / 'x.safetensors', json.dumps(header).encode())
    with pytest.raises(InputError, match=what):
        read_checkpoint(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('header', [b'[' * 10**5, b'{"a":' * 10**5, b'{}', b'\xff' * 100, b'{"a": 3}', json.dumps(dict(
    weight=dict(dtype='F32', shape=[2**62, 3], data_offsets=[0, 12]))).encode(), json.dumps(dict(
        weight=dict(dtype='F32', shape=[3], data_offsets=[0, 2**60]))).encode()])
def test_safetensors_with_an_odd_header(header, tmp_path):
    pytest.importorskip('safetensors', reason='needs safetensors')
    safetensors(tmp_path / 'x.safetensors', header)
    with pytest.raises(InputError, match='is no safetensors file, or a torn one|holds no weights'):
        read_checkpoint(tmp_path / 'x.safetensors')
    (tmp_path / 'x.safetensors').write_bytes(struct.pack('<Q', 2**62) + b'{}')
    with pytest.raises(InputError, match='is no safetensors file, or a torn one'):
        read_checkpoint(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('text', [b'[' * 10**5, b'{"a":' * 10**5, b'9' * 10**5, b'"\xff"'],
                         ids=['lists', 'dicts', 'number', 'encoding'])
def test_json_beyond_use(text, tmp_path):
    (tmp_path / 'x.json').write_bytes(text)
    with pytest.raises(InputError, match='x.json cannot be read as JSON') as caught:
        read_json(tmp_path / 'x.json')
    assert len(str(caught.value)) < 1000


def test_damaged_files_end_in_one_line(monkeypatch):
    """A cut of ``make fuzz``."""
    pytest.importorskip('safetensors', reason='needs safetensors')
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from fuzzing import fuzz
    ends, faults = fuzz(60, seed=10**6)
    assert not faults
    assert sum(ends.values()) == 60
