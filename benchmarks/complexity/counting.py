"""Parameters, multiply-adds, FLOPs and activations of any network, by stage and by kind of operator."""
import copy
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from mobileode_mm.ode import ChannelwiseODESolver

from .operators import Cost, OperatorCounter
from .solver import scheme, solver_cost


@dataclass(frozen=True)
class Stage:
    """A part of a network.

    Attributes:
        name: Of the module, as in the state dict.
        output: Shape of what it gave last, without the batch; None where that is no tensor.
        parameters: Number of them.
        cost: Of one forward pass.
    """
    name: str
    output: tuple[int, ...] | None
    parameters: int
    cost: Cost


@dataclass(frozen=True)
class Complexity:
    """What a forward pass in eval mode costs.

    Attributes:
        cost: All of it.
        parameters: Number of those that the pass reads.
        idle_parameters: Number of those that it does not read, by part: an auxiliary head's, a stage's past the last
            output.
        kinds: Cost by kind of operator.
        stages: Parts of the network, in order: the backbone's children, and every other child.
        unknown: Operators of unknown cost, which are not counted, and how often each was called.
    """
    cost: Cost
    parameters: int
    idle_parameters: dict[str, int]
    kinds: dict[str, Cost]
    stages: list[Stage]
    unknown: dict[str, int]


def count(model: nn.Module, shape: Sequence[int], forward: Callable[[nn.Module, Tensor], object] | None = None,
          ) -> Complexity:
    """Count one forward pass in eval mode.

    Every operator that torch dispatches is counted, of whichever module; only a :class:`ChannelwiseODESolver` is
    counted by its formulas, so that the figures do not move with its implementation. Nothing is computed where the
    network lets itself be run on shapes alone; otherwise it is run on zeros. The model is left as it is.

    Args:
        model: The network.
        shape: Of its input, (B, 3, H, W).
        forward: Runs a model on an input; default ``model(x)``.
    """
    forward = forward or (lambda model, x: model(x))
    try:
        return _count(model, shape, forward, FakeTensorMode(allow_non_fake_inputs=True))
    except RuntimeError:  # also where an operator's result has to be looked at; what is a real fault comes again
        return _count(model, shape, forward, nullcontext())


def _count(model: nn.Module, shape: Sequence[int], forward: Callable, tensors: AbstractContextManager) -> Complexity:
    model = copy.deepcopy(model)  # keeps the hooks, and what a module may store of this run
    model.eval()
    counter = OperatorCounter()
    outputs = {}
    places = ['']

    def enter(name):
        def hook(*_):
            places.append(name)
            counter.place = name
        return hook

    def leave(name):
        def hook(_module, _args, out):
            outputs[name] = tuple(out.shape[1:]) if isinstance(out, Tensor) else None
            places.pop()
            counter.place = places[-1]
        return hook

    def solve(solver):
        numbers = scheme(solver.solver)

        def stand_in(x):
            positions = x.numel() // solver.in_channels
            costs = solver_cost(solver.side_in, solver.side, solver.num_steps, positions, *numbers,
                                gain=solver.gain is not None)
            for kind, cost in costs.items():
                counter.add(kind, cost)
            counter.read.update(id(parameter) for parameter in solver.parameters())
            return x.new_zeros(x.shape[0], solver.out_channels, *x.shape[2:])
        return stand_in

    for name, module in model.named_modules():
        module.register_forward_pre_hook(enter(name))
        module.register_forward_hook(leave(name))
        if isinstance(module, ChannelwiseODESolver):
            module.forward = solve(module)
    with torch.no_grad(), tensors:
        x = torch.zeros(shape)
        with counter:
            forward(model, x)
    return _summary(model, counter, outputs)


def _summary(model: nn.Module, counter: OperatorCounter, outputs: dict) -> Complexity:
    parts = _parts(model)
    costs, kinds = dict.fromkeys(parts, Cost()), {}
    for (place, kind), cost in counter.costs.items():
        costs[_part(place, parts)] += cost
        kinds[kind] = kinds.get(kind, Cost()) + cost
    sizes, idle = Counter(), Counter()
    for name, parameter in model.named_parameters():
        part = _part(name, parts)
        sizes[part] += parameter.numel()
        if id(parameter) not in counter.read:
            idle[part] += parameter.numel()
    stages = [Stage(part, outputs.get(part), sizes[part], costs[part])
              for part in parts if sizes[part] or costs[part] != Cost()]
    return Complexity(counter.total(), sizes.total() - idle.total(), dict(idle), kinds, stages, dict(counter.unknown))


def _parts(model: nn.Module) -> list[str]:
    """Names of the modules by which a network is described, each after those inside it; '' takes what is left."""
    parts = []
    for name, child in model.named_children():
        if name == 'backbone':
            while len(children := list(child.named_children())) == 1:  # a wrapper around another toolbox's network
                name, child = f'{name}.{children[0][0]}', children[0][1]
            parts += [f'{name}.{part}' for part in _parts(child)[:-1]]
        elif isinstance(child, nn.ModuleList):
            parts += [f'{name}.{index}' for index in range(len(child))]
        parts.append(name)
    return [*parts, '']


def _part(name: str, parts: list[str]) -> str:
    return next(part for part in parts if not part or name == part or name.startswith(f'{part}.'))
