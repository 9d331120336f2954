"""What a Channelwise ODE Solver costs, from its formulas and not from how it is programmed."""
from functools import cache

import torch
from torch import Tensor

from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver

from .operators import ELEMENTWISE, NORM, Cost, OperatorCounter, matrix_cost

RELU6 = ELEMENTWISE['hardtanh']


def solver_cost(side_in: int, side: int, num_steps: int, positions: int, evaluations: int = 1,
                step_flops: int = ELEMENTWISE['lerp'], taps: int | None = None, gain: bool = False) -> dict[str, Cost]:
    """Cost by kind of a solver from p² to q² channels.

    Counted are, for each position, L products of a q×q state and a q×q matrix I + K_l, the resize A·Y·Aᵀ as two dense
    matrix products where p ≠ q, and for each of the q² values of each step the norm's scale and shift, ReLU6 and the
    step itself; the start is added once, and multiplied by its gain where it has one. What depends on the parameters
    alone is no part of it: I + K_l, the steps' lengths, the scale and shift that the norm's four grids come to.

    Args:
        side_in: p.
        side: q.
        num_steps: L.
        positions: Batch × height × width.
        evaluations, step_flops: Of the scheme (:func:`scheme`); default Euler's.
        taps: Entries of a row of A that are counted; default all p.
        gain: Whether the resized map has one.
    """
    values = side ** 2 * positions
    resize = Cost()
    if side_in != side:
        for outputs in (side * side_in * positions, values):
            resize += matrix_cost((taps or side_in) * outputs, outputs)
    targets = num_steps * evaluations
    return {
        'COS matrix product': matrix_cost(targets * side ** 3 * positions, targets * values),
        'COS resize': resize,
        'COS norm': Cost(flops=targets * NORM['_native_batch_norm_legit_no_training'] * values),
        'COS elementwise': Cost(flops=(targets * RELU6 + num_steps * step_flops + 1 + gain) * values),
    }


@cache
def scheme(solver: str) -> tuple[int, int]:
    """Evaluations of the right-hand side in a step of a scheme, and what it computes besides them for each value.

    Args:
        solver: Name in ``ode.SOLVERS``.
    """
    calls = []

    def target(y: Tensor) -> Tensor:
        calls.append(y)
        return y

    # What a scheme does to the step's length, one number, falls off in the division.
    values = 1000
    with OperatorCounter() as counter:
        SOLVERS[solver](target, torch.zeros(values), torch.zeros(()))
    return len(calls), counter.total().flops // values


def least_operations(solver: ChannelwiseODESolver, positions: int) -> int:
    """Floating-point operations that no program for a solver can do without, at so many positions of a batch.

    Those of :func:`solver_cost`, but for the resize: a row of the bilinear A has two entries that are not zero.
    """
    costs = solver_cost(solver.side_in, solver.side, solver.num_steps, positions, *scheme(solver.solver), taps=2,
                        gain=solver.gain is not None)
    return sum(cost.flops for cost in costs.values())
