"""What a checkpoint's pickle may hold, and how it is rebuilt: by functions of this file alone.

torch's own restricted reader (``weights_only=True``) calls constructors with whatever arguments the file gives: a few
bytes have it reserve any amount of memory (``bytearray``, storages that grow to the size of their tensor), and NumPy's
``dtype`` and ``ndarray``, which MMEngine's checkpoints need, take a state that makes raw bytes pointers. Here names in
the file stand for functions that check their arguments.
"""
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor

#: How deep containers may nest, and how many values there may be, one that is met twice counted twice.
DEEPEST, MOST_VALUES = 100, 2**24
_DIMENSIONS = 32
_NUMBERS = {f'{kind}{size}' for kind, sizes in {'b': (1, ), 'i': (1, 2, 4, 8), 'u': (1, 2, 4, 8), 'f': (2, 4, 8),
                                                'c': (8, 16)}.items() for size in sizes}
_DTYPES = {name: getattr(torch, name) for name in (
    'float64', 'float32', 'float16', 'bfloat16', 'complex32', 'complex64', 'complex128', 'int64', 'int32', 'int16',
    'int8', 'uint8', 'uint16', 'uint32', 'uint64', 'bool', 'float8_e4m3fn', 'float8_e5m2', 'float8_e4m3fnuz',
    'float8_e5m2fnuz')}
_STORAGES = {'Double': 'float64', 'Float': 'float32', 'Half': 'float16', 'BFloat16': 'bfloat16', 'Long': 'int64',
             'Int': 'int32', 'Short': 'int16', 'Char': 'int8', 'Byte': 'uint8', 'Bool': 'bool',
             'ComplexFloat': 'complex64', 'ComplexDouble': 'complex128'}


class ForeignObject(Exception):
    """The file holds an object that is neither weights nor plain values; the message names it."""


class Storage(NamedTuple):
    """Memory that tensors of a file share.

    Attributes:
        memory: (bytes,), uint8.
        dtype: Of the elements.
    """
    memory: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, memory: Tensor, dtype: torch.dtype) -> 'Storage':
        """Storage on these bytes; ValueError where they are no whole number of elements."""
        if len(memory) % dtype.itemsize:
            raise ValueError(f'{len(memory)} bytes are no whole number of {dtype}')
        return cls(memory, dtype)


def unpickle(file: BinaryIO, storage: Callable[[str, torch.dtype, int], Tensor]):
    """Rebuild what a pickle of ``torch.save`` holds; reads no further than its end.

    Args:
        file: At the start of the pickle.
        storage: ``storage(key, dtype, elements)`` gives the bytes of a storage, (bytes,), uint8.

    Returns:
        Tensors on the CPU, numbers, strings, containers, NumPy's arrays and scalars of numbers, log histories.

    Raises:
        ForeignObject: It holds something else.
        Exception: Of any type, where the pickle is torn or makes no sense.
    """
    value = _Unpickler(file, storage).load()
    _check(value, {}, 0)
    return value


class _Shell:
    """An array or a data type whose content is yet to come in the file. ``places`` are those in the memo."""

    def __init__(self, name: str | None = None):
        self.name, self.places = name, []


class _Unpickler(pickle._Unpickler):
    """Python's own, which keeps its memo in a dict: the compiled one reserves a list as long as the file says."""

    # Those that torch.save writes, and the two for strings of Python 2. All others end the reading.
    dispatch = {code: pickle._Unpickler.dispatch[code]
                for code in b'c\x81Rbaesu(t\x85\x86\x87N\x88\x89)]}JKMGXUTQhjqr\x8a\x80.'}

    def __init__(self, file: BinaryIO, storage: Callable[[str, torch.dtype, int], Tensor]):
        super().__init__(file, encoding='utf-8')
        self._storage, self._storages = storage, {}

    def find_class(self, module: str, name: str):
        try:
            return _NAMES[f'{module}.{name}']
        except KeyError:
            raise ForeignObject(f'{module}.{name}') from None

    def persistent_load(self, place: tuple) -> Storage:
        kind, dtype, key, _, elements, *view = place
        if kind != 'storage' or not isinstance(dtype, torch.dtype) or not isinstance(key, str) or any(view):
            raise ForeignObject(f'a {kind}')
        if type(elements) is not int or elements < 0:
            raise ValueError(f'a storage of {elements} elements')
        if key not in self._storages:
            self._storages[key] = Storage.of(self._storage(key, dtype, elements), dtype)
        if self._storages[key].dtype != dtype:
            raise ValueError(f'storage {key} is of two types')
        return self._storages[key]

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not any(function is known for known in _FUNCTIONS):
            raise ForeignObject(f'a call of {_type(function)}')
        self.stack[-1] = function(*arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] is not HistoryBuffer or arguments != ():
            raise ForeignObject(f'an object of {_type(self.stack[-1])}')
        self.stack[-1] = HistoryBuffer()

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, _Shell):
            finished = _array(*state) if built.name is None else _dtype(built.name, state)
            for place in built.places:
                self.memo[place] = finished
            self.stack[-1] = finished
        elif type(built) is HistoryBuffer:
            # Its statistics are methods of its own, which it has already.
            logs, counts = (_vector(state[name]) for name in ('_log_history', '_count_history'))
            built.__init__(logs, counts, _natural(state['max_length']))
        elif type(built) is OrderedDict and type(state) is dict and state.keys() <= {'_metadata'}:
            built.__dict__.update(state)
        else:
            raise ForeignObject(f'the state of {_type(built)}')

    dispatch[pickle.BUILD[0]] = load_build

    def _remember(self, place: int) -> None:
        if isinstance(self.stack[-1], _Shell):
            self.stack[-1].places.append(place)
        self.memo[place] = self.stack[-1]

    def load_binput(self) -> None:
        self._remember(self.read(1)[0])

    dispatch[pickle.BINPUT[0]] = load_binput

    def load_long_binput(self) -> None:
        self._remember(int.from_bytes(self.read(4), 'little'))

    dispatch[pickle.LONG_BINPUT[0]] = load_long_binput


def _type(value) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f'{kind.__module__}.{kind.__qualname__}'


def _natural(value) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f'{value!r} is no size')
    return value


def _naturals(values) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > _DIMENSIONS:
        raise ValueError(f'{values!r} is no shape')
    return tuple(map(_natural, values))


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> Tensor:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, which never grows."""
    if not isinstance(storage, Storage):
        raise TypeError('a tensor without storage')
    elements = storage.memory.view(storage.dtype)
    size, stride = _naturals(size), _naturals(stride)
    if math.prod(size) > len(elements):
        raise ValueError(f'{math.prod(size)} elements in a storage of {len(elements)}')
    return elements.as_strided(size, stride, _natural(offset)).requires_grad_(bool(requires_grad))


def _typed_tensor(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None) -> Tensor:
    """``torch._utils._rebuild_tensor_v3``: of a storage of bytes."""
    # Of booleans torch writes a storage of their own, whose bytes were looked at.
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or dtype is torch.bool:
        raise TypeError('a tensor without storage or type')
    return _tensor(Storage.of(storage.memory, dtype), offset, size, stride, requires_grad)


def _parameter(data, requires_grad, hooks) -> torch.nn.Parameter:
    if not isinstance(data, Tensor):
        raise TypeError('a parameter without data')
    return torch.nn.Parameter(data.detach(), bool(requires_grad))


def _dtype_shell(name, align=False, copy=True) -> _Shell:
    if name not in _NUMBERS:
        raise ForeignObject(f'numpy.dtype({name!r})')
    return _Shell(name)


def _dtype(name: str, state: tuple) -> np.dtype:
    _, order, subarray, names, fields, *_ = state
    if order not in ('<', '>', '|', '=') or (subarray, names, fields) != (None, None, None):
        raise ForeignObject('a structured numpy.dtype')
    return np.dtype(name).newbyteorder(order)


def _array_shell(kind, shape=None, code=None) -> _Shell:
    if kind is not np.ndarray:
        raise ForeignObject(f'a numpy.ndarray of {_type(kind)}')
    return _Shell()


def _array(version, shape, dtype, fortran, raw) -> np.ndarray:
    shape = _naturals(shape)
    values = _numbers(dtype, raw)
    if math.prod(shape) != len(values):
        raise ValueError(f'{len(values)} values for the shape {shape}')
    return values.reshape(shape, order='F' if fortran else 'C')


def _scalar(dtype, raw) -> np.generic:
    value, = _numbers(dtype, raw)
    return value


def _numbers(dtype, raw) -> np.ndarray:
    # There are no other dtypes than those of _dtype.
    if not isinstance(dtype, np.dtype) or not isinstance(raw, bytes):
        raise ForeignObject(f'a numpy.ndarray of {_type(dtype)}')
    if dtype.kind == 'b':
        return np.frombuffer(raw, np.uint8) != 0
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder('='))


def _vector(values) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise TypeError('a log history without values')
    return values


def _encoded(text, encoding) -> bytes:
    """``_codecs.encode``: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise ForeignObject(f'a text encoded as {encoding}')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    return b''


def _ordered_dict(items=()) -> OrderedDict:
    return OrderedDict((key, value) for key, value in items)


def _counter(counts=()) -> Counter:
    counter = Counter()
    counter.update({key: _natural(counts[key]) for key in counts})
    return counter


def _set(items=()) -> set:
    if not isinstance(items, list):
        raise TypeError('a set of no list')
    return set(items)


def _size(sizes) -> torch.Size:
    return torch.Size(_naturals(sizes))


def _complex(real, imaginary) -> complex:
    return complex(real, imaginary)


def _device(*place) -> torch.device:
    return torch.device(*place)


def _history_method(owner, name) -> str:
    """A log history pickles its methods as ``getattr(HistoryBuffer, 'mean')``: a name, of which nothing is made."""
    if owner is not HistoryBuffer or not isinstance(name, str) or name.startswith('_'):
        raise ForeignObject(f'getattr({_type(owner)}, {name!r})')
    return name


_NAMES = {
    'collections.OrderedDict': _ordered_dict, 'collections.Counter': _counter,
    'torch._utils._rebuild_tensor_v2': _tensor, 'torch._utils._rebuild_tensor_v3': _typed_tensor,
    'torch._utils._rebuild_tensor': _tensor, 'torch._utils._rebuild_parameter': _parameter,
    'torch.Size': _size, 'torch.device': _device, '_codecs.encode': _encoded,
    **{f'{builtins}.{name}': function for builtins in ('builtins', '__builtin__') for name, function in {
        'getattr': _history_method, 'bytes': _no_bytes, 'set': _set, 'complex': _complex}.items()},
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.ndarray': np.ndarray, 'numpy.dtype': _dtype_shell,
    # NumPy moved its modules between versions.
    **{f'numpy.{core}.multiarray.{name}': function for core in ('core', '_core')
       for name, function in {'_reconstruct': _array_shell, 'scalar': _scalar}.items()},
    **{f'torch.{name}': dtype for name, dtype in _DTYPES.items()},
    **{f'torch.{name}Storage': _DTYPES[dtype] for name, dtype in _STORAGES.items()},
    'torch.storage.UntypedStorage': torch.uint8,
}
_FUNCTIONS = [value for value in _NAMES.values() if callable(value) and not isinstance(value, type)]
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic, np.dtype, torch.dtype,
          torch.device, torch.Size, HistoryBuffer, Tensor)


def _check(value, measured: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """Number of values in ``value`` and how deep they nest; an error where that is too many, or one is not finished.

    Args:
        value: What the pickle gave.
        measured: The same of the containers that were looked at, by their id.
        depth: Of containers around it.
    """
    if isinstance(value, _PLAIN):
        return 1, 0
    if not isinstance(value, (dict, list, tuple, set)):
        raise ForeignObject(_type(value))
    if not value and not getattr(value, '__dict__', None):
        return 1, 1
    if id(value) not in measured:
        if depth == DEEPEST:  # one that holds itself never ends
            raise ValueError(f'values nest deeper than {DEEPEST}')
        parts = [*value, *(value.values() if isinstance(value, dict) else ()),
                 *(vars(value).values() if isinstance(value, OrderedDict) else ())]
        counts, depths = zip((1, 0), *(_check(part, measured, depth + 1) for part in parts))
        measured[id(value)] = sum(counts), max(depths) + 1
        if sum(counts) > MOST_VALUES or max(depths) >= DEEPEST:
            raise ValueError(f'there are more than {MOST_VALUES} values, or they nest deeper than {DEEPEST}')
    return measured[id(value)]
