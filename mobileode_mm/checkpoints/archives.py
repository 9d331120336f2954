"""The file formats of ``torch.save``, read so that no file takes more memory than its size stands for.

Both formats keep storages as plain bytes, so that a file is as large as what it holds. The directory of a zip archive
is looked at before any entry is read: an entry that is compressed, which torch never writes, or that shares its bytes
with another would be many times as large in memory.
"""
import itertools
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from .unpickling import unpickle

_MAGIC, _PROTOCOL = 0x1950a86a20f9469cfc6c, 1001
_ZIP = b'PK\x03\x04'


class Unusable(Exception):
    """The file is whole, but in no form that is read; the message says in which it is."""


def read_archive(path: str | Path):
    """What a file of ``torch.save`` holds, in either of torch's formats.

    Args:
        path: The file.

    Returns:
        As :func:`.unpickling.unpickle` does.

    Raises:
        Unusable: The file is of another kind.
        ForeignObject: It holds other objects than weights and plain values.
        Exception: Of any type, where the file is torn or makes no sense.
    """
    with open(path, 'rb') as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        return _read_zip(file) if start == _ZIP else _read_legacy(file)


def _read_zip(file: BinaryIO):
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Unusable('its entries are compressed, which those of torch.save are not')
        if any(entry.file_size != entry.compress_size for entry in entries):
            raise ValueError('an entry is not of the size that the directory says')
        by_place = sorted(entries, key=lambda entry: entry.header_offset)
        if len(names) < len(entries) or any(
                entry.header_offset + entry.compress_size > following.header_offset
                for entry, following in itertools.pairwise(by_place)):
            raise Unusable('entries of the archive overlap')
        roots = [name.removesuffix('data.pkl') for name in names if name.endswith('/data.pkl')]
        if any(f'{root}constants.pkl' in names for root in roots):
            raise Unusable('it is a TorchScript file')
        root, = roots
        if f'{root}byteorder' in names and archive.read(f'{root}byteorder') != sys.byteorder.encode():
            raise Unusable('it was written on a machine of the other byte order')

        def storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
            memory = _empty(archive.getinfo(f'{root}data/{key}').file_size)
            with archive.open(f'{root}data/{key}') as record:
                _fill(memory, record, dtype, elements)
            return memory

        with archive.open(f'{root}data.pkl') as pickled:
            return unpickle(pickled, storage)


def _read_legacy(file: BinaryIO):
    """The format before torch 1.6: pickles one behind the other, and behind them the storages."""
    left = os.fstat(file.fileno()).st_size
    storages = {}

    def storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
        nonlocal left
        left -= elements * dtype.itemsize
        if left < 0:
            raise ValueError('the storages are larger than the file')
        storages[key] = _empty(elements * dtype.itemsize), dtype, elements
        return storages[key][0]

    if [unpickle(file, storage) for _ in range(2)] != [_MAGIC, _PROTOCOL]:
        raise ValueError('it is no file of torch.save')
    system = unpickle(file, storage)
    if system['little_endian'] != (sys.byteorder == 'little'):
        raise Unusable('it was written on a machine of the other byte order')
    value, keys = unpickle(file, storage), unpickle(file, storage)
    for key in keys:
        memory, dtype, elements = storages.pop(key)
        if struct.unpack('<q', file.read(8))[0] != elements:
            raise ValueError(f'storage {key} is of another size')
        _fill(memory, file, dtype, elements)
    if storages:
        raise EOFError('storages are missing')
    return value


def _empty(size: int) -> Tensor:
    """(size,), uint8."""
    return torch.empty(size, dtype=torch.uint8)


def _fill(memory: Tensor, file: BinaryIO, dtype: torch.dtype, elements: int) -> None:
    if len(memory) != elements * dtype.itemsize:
        raise ValueError(f'{len(memory)} bytes for {elements} elements of {dtype}')
    if file.readinto(memory.numpy()) != len(memory):
        raise EOFError('the file ends too early')
    if dtype is torch.bool:
        memory.ne_(0)  # other bytes than 0 and 1 are undefined behaviour in compiled code
