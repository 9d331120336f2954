"""Which operators of an ONNX file onnxruntime computes faster in eight bits on this processor."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from .formats import session_options

#: Flags of processors that have products of eight bits, and those that tell how wide their registers are.
_FLAGS = ('avx2', 'avx512f', 'avx_vnni', 'avx512_vnni', 'amx_int8', 'asimddp', 'i8mm')
#: A choice has to take less than this share of the time of the best one before it.
_GAIN = 0.98
_ROUNDS, _SECONDS = 11, 0.02
_ACTIVATIONS = ('Clip', 'Relu')
#: What stands between a solver's product and the sum that ends its step.
_OF_A_STEP = ('BatchNormalization', 'Clip', 'Mul', 'Add', 'Reshape', 'Transpose')


class Group(NamedTuple):
    """Operators that are quantised together or not at all.

    Attributes:
        name: For people.
        nodes: Their names.
    """
    name: str
    nodes: frozenset[str]


class Trial(NamedTuple):
    """What was seen of a group.

    Attributes:
        group: The group.
        ratio: Least time of a file with the group in eight bits over float32's.
        chosen: Whether it stays in eight bits.
    """
    group: Group
    ratio: float
    chosen: bool


def processor() -> str:
    """Name of the processor, and which of the flags it has that eight bits gain by."""
    path = Path('/proc/cpuinfo')
    text = path.read_text() if path.is_file() else ''
    name = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    flags = re.search(r'^(?:flags|Features)\s*: (.+)$', text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return f'{name[1] if name else "processor"} ({" ".join(flag for flag in _FLAGS if flag in has) or "flags unknown"})'


def groups(graph: onnx.GraphProto) -> list[Group]:
    """The operators of a graph by what they do, those of them that there are.

    An activation goes with the convolution that it follows. The first convolution is a group of its own: in eight bits
    onnxruntime gives it the layout that has the channels last, and normalises the image there, number by number.
    """
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, set[str]] = {}
    first = True
    for node in graph.node:
        if node.op_type == 'Conv':
            name, first = ('first convolution' if first else _kind(node, weights)), False
        elif node.op_type == 'Gemm':
            name = 'convolutions'
        elif node.op_type == 'MatMul':
            name = 'solver products'
        elif node.op_type == 'Add' and not any(name in weights for name in node.input):
            name = 'solver sums' if any(_from_a_solver(one, makers, weights) for one in node.input) else 'sums'
        else:
            continue
        found.setdefault(name, set()).add(node.name)
        if node.op_type == 'Conv':
            found[name].update(one.name for one in _activation(node, users))
    order = ('convolutions', 'depthwise convolutions', 'sums', 'solver products', 'solver sums', 'first convolution')
    return [Group(name, frozenset(found[name])) for name in order if name in found]


def choose(groups: list[Group], build: Callable[[frozenset[str]], Path], source: Path,
           image: np.ndarray) -> tuple[frozenset[str], float, list[Trial]]:
    """The nodes whose quantisation makes a file fastest, as onnxruntime runs it here on one thread.

    First the groups go into eight bits one after the other, then each is turned over in the best choice so far. What
    does not save two per cent is not taken. Times are the processor's, not the clock's, and those of both files are
    taken in turn, so that other programs disturb little.

    Args:
        groups: As :func:`groups` gives them.
        build: Writes the file in which these nodes are quantised.
        source: The file in float32.
        image: What both are run on, (1, H, W, 3), uint8.

    Returns:
        The nodes, none where nothing gains; the file's time over float32's; and what was seen of each group.
    """
    reference = _session(source)
    seen: dict[frozenset[str], float] = {frozenset(): 1.}

    def faster(trial: frozenset[str], chosen: frozenset[str]) -> frozenset[str]:
        if trial not in seen:
            seen[trial] = _time_ratio(_session(build(trial)), reference, image)
        return trial if seen[trial] < _GAIN * seen[chosen] else chosen

    chosen: frozenset[str] = frozenset()
    growing = chosen
    for group in groups:
        growing |= group.nodes
        chosen = faster(growing, chosen)
    for group in groups:
        chosen = faster(chosen ^ group.nodes, chosen)
    least = [min(ratio for nodes, ratio in seen.items() if group.nodes <= nodes) for group in groups]
    return chosen, seen[chosen], [Trial(group, ratio, group.nodes <= chosen) for group, ratio in zip(groups, least)]


def table(trials: list[Trial]) -> list[str]:
    """The trials for people."""
    return [f'{"operators":<24}{"number":>8}{"time":>8}   (of the file over float32, with these in int8)',
            *(f'{trial.group.name:<24}{len(trial.group.nodes):>8}{trial.ratio:>8.2f}   '
              f'{"int8" if trial.chosen else "float32"}' for trial in trials)]


def time_of(path: Path, source: Path, image: np.ndarray) -> float:
    """Processor time of a file over that of another on one thread."""
    return _time_ratio(_session(path), _session(source), image)


def _time_ratio(session: onnxruntime.InferenceSession, reference: onnxruntime.InferenceSession,
               image: np.ndarray) -> float:
    """Processor time of a session over that of another, the median of rounds in which both are run."""
    def seconds(one: onnxruntime.InferenceSession, calls: int) -> float:
        begin = time.process_time()
        for _ in range(calls):
            one.run(None, {'image': image})
        return (time.process_time() - begin) / calls

    for one in (session, reference):
        seconds(one, 2)
    calls = 1 + int(_SECONDS / max(seconds(reference, 1), 1e-4))
    ratios = []
    for number in range(_ROUNDS):
        pair = (session, reference) if number % 2 else (reference, session)
        taken = [seconds(one, 1) and seconds(one, calls) for one in pair]
        ratios.append(taken[0] / taken[1] if number % 2 else taken[1] / taken[0])
    return median(ratios)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), session_options(1), providers=['CPUExecutionProvider'])


def _kind(node: onnx.NodeProto, weights: dict) -> str:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == 'group'), 1)
    if groups == 1:
        return 'convolutions'
    return 'depthwise convolutions' if weights.get(node.input[1], (0, 1))[1] == 1 else 'solver products'


def _activation(node: onnx.NodeProto, users: dict[str, list[onnx.NodeProto]]) -> Iterator[onnx.NodeProto]:
    """The clip, or the sigmoid and the product with it, that follows."""
    following = users.get(node.output[0], [])
    kinds = {one.op_type for one in following}
    if kinds == {'Sigmoid', 'Mul'} or (len(following) == 1 and kinds & {*_ACTIVATIONS}):
        yield from following


def _from_a_solver(name: str, makers: dict[str, onnx.NodeProto], weights: dict) -> bool:
    """Whether a map is a solver's state or comes from its products, by elementwise operators alone."""
    node = makers.get(name)
    if node is None:
        return False
    if node.op_type in ('Conv', 'MatMul'):
        return node.op_type == 'MatMul' or _kind(node, weights) == 'solver products'
    return node.op_type in _OF_A_STEP and any(_from_a_solver(one, makers, weights) for one in node.input)
