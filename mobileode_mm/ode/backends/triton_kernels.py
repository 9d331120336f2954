"""Triton kernels of the Channelwise ODE Solver, Euler steps only.

They are run against the plain reference, in Triton's interpreter and on a GPU (docs/gpu.md says on which), and they
compile for the architectures of docs/gpu.md.
Their entry is :mod:`.triton_operators`; importing this module imports Triton.

Memory. A feature map is (B, H, W, q²), dense: what a (B, q², H, W) tensor in channels_last is. K mixes the columns of
a position's q×q matrix, so that the whole map is one tall matrix of B·H·W·q rows and q columns for it, and a tile is
BLOCK of those rows, whichever positions they belong to. Columns are padded to QB, the next power of two and 16 at least
(the least side of ``tl.dot``), rows are not. All state is float32; only the operands of the products with K are rounded
to the storage type (ROUND), and y + y·K has y added exactly, as the accumulator.

Padded entries are loaded as 0, and K's padding is 0, so they never reach a product; they must be masked out of sums.

Names and formulas are those of docs/kernels.md; ``gamma`` and ``beta`` are the weight and bias that a tile takes.

A program reads back global memory that its own threads wrote. Triton does not order such accesses: between a store
and a load, and between a load and a store of the same address, stands a ``tl.debug_barrier``.
"""

import triton
import triton.language as tl

# Of these numbers the compiler is told nothing: else it compiled anew for step 0, step 1 and the others, for a batch of
# one and for batches that 16 divides, and what is compiled ahead of time would be none of these.
_launched = triton.jit(do_not_specialize=('batch', 'area', 'total_rows', 'num_steps', 'spacing', 'slots', 'total',
                                          'step'))


@triton.jit
def _taps(index, P: tl.constexpr, Q: tl.constexpr):
    """Row ``index`` of the bilinear Q×P matrix (``resize_matrix``): its two columns and the weight of the second."""
    # Twice Q times the source coordinate (index + 1/2)·P/Q − 1/2, in exact integers.
    scaled = tl.maximum((2 * index + 1) * P - Q, 0)
    low = scaled // (2 * Q)
    fraction = (scaled - low * (2 * Q)).to(tl.float32) / (2 * Q)
    return low, tl.minimum(low + 1, P - 1), fraction


@triton.jit
def _load_start(x, image, i, j, mask, P: tl.constexpr, Q: tl.constexpr):
    """Rows ``i`` of Y₀ = A·Y·Aᵀ, float32. A row of A has two entries, so this gathers four numbers of Y for each."""
    base = x + (image * (P * P))[:, None]
    if P == Q:
        start = tl.load(base + (i * Q)[:, None] + j[None, :], mask=mask, other=0.0).to(tl.float32)
    else:
        top, bottom, down = _taps(i, P, Q)
        left, right, along = _taps(j, P, Q)
        top, bottom = base + (top * P)[:, None], base + (bottom * P)[:, None]
        left, right, along = left[None, :], right[None, :], along[None, :]
        above = tl.load(top + left, mask=mask, other=0.0).to(tl.float32) * (1 - along)
        above += tl.load(top + right, mask=mask, other=0.0).to(tl.float32) * along
        below = tl.load(bottom + left, mask=mask, other=0.0).to(tl.float32) * (1 - along)
        below += tl.load(bottom + right, mask=mask, other=0.0).to(tl.float32) * along
        start = above + (below - above) * down[:, None]
    return start


@triton.jit
def _load_matrix(matrices, step, Q: tl.constexpr, QB: tl.constexpr, ROUND: tl.constexpr, DOT: tl.constexpr):
    """K of a step, padded with 0."""
    row, column = tl.arange(0, QB)[:, None], tl.arange(0, QB)[None, :]
    matrix = tl.load(matrices + step * (Q * Q) + row * Q + column, mask=(row < Q) & (column < Q), other=0.0)
    return matrix.to(ROUND).to(DOT)


@triton.jit
def _drive(state, matrix, ROUND: tl.constexpr, DOT: tl.constexpr):
    """The drive: y·(I + K) = y + y·K."""
    return tl.dot(state.to(ROUND).to(DOT), matrix, acc=state, input_precision='ieee')


@triton.jit
def _relu6(z):
    # Not by minimum and maximum: they drop NaN, which has to be seen.
    return tl.where(z <= 0.0, 0.0, tl.where(z >= 6.0, 6.0, z))


@triton.jit
def _euler(state, matrix, mean, rstd, weight, bias, step_length, ROUND: tl.constexpr, DOT: tl.constexpr):
    """One step whose statistics are known."""
    target = _relu6((_drive(state, matrix, ROUND, DOT) - mean) * (rstd * weight) + bias)
    return state + step_length * (target - state)


@_launched
def infer(x, y, matrices, step_lengths, scale, shift, area, total_rows, num_steps,
          P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, BY_POSITION: tl.constexpr, BLOCK: tl.constexpr,
          ROUND: tl.constexpr, DOT: tl.constexpr):
    """All steps of BLOCK rows in registers: x is read once, y written once."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, i, j = rows // Q, (rows % Q).to(tl.int32), tl.arange(0, QB)
    mask = (rows < total_rows)[:, None] & (j < Q)[None, :]
    if BY_POSITION:
        gain = tl.load(scale + image % area)[:, None]
        offset = tl.load(shift + image % area)[:, None]
    else:
        channel = (i * Q)[:, None] + j[None, :]
        gain = tl.load(scale + channel, mask=mask, other=0.0)
        offset = tl.load(shift + channel, mask=mask, other=0.0)
    start = _load_start(x, image, i, j, mask, P, Q)
    state = start
    for step in range(num_steps):
        matrix = _load_matrix(matrices, step, Q, QB, ROUND, DOT)
        target = _relu6(_drive(state, matrix, ROUND, DOT) * gain + offset)
        state += tl.load(step_lengths + step) * (target - state)
    tl.store(y + (rows * Q)[:, None] + j[None, :], (state + start).to(y.dtype.element_ty), mask=mask)


# Training with the position norm: the statistics of a position need that position of the whole batch and nothing else.


@triton.jit
def _batch_rows(first, position, batch, area, Q: tl.constexpr, QB: tl.constexpr, BLOCK: tl.constexpr):
    """Of the batch·Q rows of one position: BLOCK from ``first`` on, as (row, image in memory, i, j, mask)."""
    rows = first + tl.arange(0, BLOCK)
    j = tl.arange(0, QB)
    image = (rows // Q).to(tl.int64) * area + position
    return rows, image, rows % Q, j, (rows < batch * Q)[:, None] & (j < Q)[None, :]


@_launched
def position_forward_resident(x, y, matrices, step_lengths, weight, bias, means, variances,
                              batch, area, num_steps, count, eps,
                              P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, BLOCK: tl.constexpr,
                              ROUND: tl.constexpr, DOT: tl.constexpr):
    """A position whose whole batch is one tile: all steps in registers, x is read once, y written once."""
    position = tl.program_id(0)
    rows, image, i, j, mask = _batch_rows(0, position, batch, area, Q, QB, BLOCK)
    gamma, beta = tl.load(weight + position), tl.load(bias + position)
    start = _load_start(x, image, i, j, mask, P, Q)
    state = start
    for step in range(num_steps):
        drive = _drive(state, _load_matrix(matrices, step, Q, QB, ROUND, DOT), ROUND, DOT)
        mean = tl.sum(tl.where(mask, drive, 0.0)) / count
        centred = drive - mean
        variance = tl.sum(tl.where(mask, centred * centred, 0.0)) / count
        tl.store(means + step * area + position, mean)
        tl.store(variances + step * area + position, variance)
        target = _relu6(centred * (tl.rsqrt(variance + eps) * gamma) + beta)
        state += tl.load(step_lengths + step) * (target - state)
    place = (image * (Q * Q))[:, None] + (i * Q)[:, None] + j[None, :]
    tl.store(y + place, (state + start).to(y.dtype.element_ty), mask=mask)


@_launched
def position_forward_streamed(x, y, matrices, step_lengths, weight, bias, means, variances, states,
                              batch, area, num_steps, count, eps,
                              P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, BLOCK: tl.constexpr,
                              ROUND: tl.constexpr, DOT: tl.constexpr):
    """A position's batch in tiles: two passes a step, first the statistics, then the step.

    The state waits in ``states``, one position of it for each program. The programs are few and take one position
    after the other, so that it stays in the L2 cache.
    """
    states += tl.program_id(0).to(tl.int64) * batch * (Q * Q)
    for position in range(tl.program_id(0), area, tl.num_programs(0)):
        gamma, beta = tl.load(weight + position), tl.load(bias + position)
        for first in range(0, batch * Q, BLOCK):
            rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
            tl.store(states + (rows * Q)[:, None] + j[None, :], _load_start(x, image, i, j, mask, P, Q), mask=mask)
        tl.debug_barrier()
        for step in range(num_steps):
            matrix = _load_matrix(matrices, step, Q, QB, ROUND, DOT)
            seen, mean, squares = 0.0, 0.0, 0.0
            for first in range(0, batch * Q, BLOCK):
                rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
                state = tl.load(states + (rows * Q)[:, None] + j[None, :], mask=mask, other=0.0)
                drive = _drive(state, matrix, ROUND, DOT)
                # Mean and sum of squares about it, tile by tile (Chan, Golub and LeVeque): no cancellation.
                here = (tl.minimum(batch * Q - first, BLOCK) * Q).to(tl.float32)
                tile_mean = tl.sum(tl.where(mask, drive, 0.0)) / here
                centred = tl.where(mask, drive - tile_mean, 0.0)
                share = here / (seen + here)
                shift = tile_mean - mean
                squares += tl.sum(centred * centred) + shift * shift * (seen * share)
                mean += shift * share
                seen += here
            variance = squares / count
            tl.store(means + step * area + position, mean)
            tl.store(variances + step * area + position, variance)
            step_length, rstd = tl.load(step_lengths + step), tl.rsqrt(variance + eps)
            for first in range(0, batch * Q, BLOCK):
                rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
                place = (rows * Q)[:, None] + j[None, :]
                state = tl.load(states + place, mask=mask, other=0.0)
                state = _euler(state, matrix, mean, rstd, gamma, beta, step_length, ROUND, DOT)
                tl.debug_barrier()
                if step + 1 < num_steps:
                    tl.store(states + place, state, mask=mask)
                else:
                    end = state + _load_start(x, image, i, j, mask, P, Q)
                    out = y + (image * (Q * Q))[:, None] + (i * Q)[:, None] + j[None, :]
                    tl.store(out, end.to(y.dtype.element_ty), mask=mask)
            tl.debug_barrier()


@triton.jit
def _replay(states, slot_size, rows, j, mask, position, step, spacing, area, matrices, step_lengths, means, variances,
            gamma, beta, eps, Q: tl.constexpr, QB: tl.constexpr, ROUND: tl.constexpr, DOT: tl.constexpr):
    """The state before ``step``, from the last one stored before it."""
    slot = step // spacing
    state = tl.load(states + slot * slot_size + (rows * Q)[:, None] + j[None, :], mask=mask, other=0.0)
    for earlier in range(slot * spacing, step):
        matrix = _load_matrix(matrices, earlier, Q, QB, ROUND, DOT)
        mean = tl.load(means + earlier * area + position)
        rstd = tl.rsqrt(tl.load(variances + earlier * area + position) + eps)
        state = _euler(state, matrix, mean, rstd, gamma, beta, tl.load(step_lengths + earlier), ROUND, DOT)
    return state


@triton.jit
def _affine_grad(target_grad, affine):
    """``target_grad`` where ``affine`` is inside (0, 6); torch's hardtanh passes nothing at its borders."""
    return tl.where((affine <= 0.0) | (affine >= 6.0), 0.0, target_grad)


@triton.jit
def _state_grad(state_grad, drive_grad, matrix, step_length, ROUND: tl.constexpr, DOT: tl.constexpr):
    """Gradient of the state before a step: (1 − Δt)·state_grad + drive_grad·(I + K)ᵀ."""
    product = tl.dot(drive_grad.to(ROUND).to(DOT), tl.trans(matrix), acc=drive_grad, input_precision='ieee')
    return product + (1.0 - step_length) * state_grad


@triton.jit
def _matrix_grad(total, state, drive_grad, ROUND: tl.constexpr, DOT: tl.constexpr):
    """``total`` and the gradient of K: yᵀ·drive_grad."""
    return tl.dot(tl.trans(state.to(ROUND).to(DOT)), drive_grad.to(ROUND).to(DOT), acc=total, input_precision='ieee')


@triton.jit
def _store_matrix(pointer, value, add: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr):
    """Store a padded Q×Q matrix, or add it to what this program stored there before."""
    row, column = tl.arange(0, QB)[:, None], tl.arange(0, QB)[None, :]
    mask = (row < Q) & (column < Q)
    pointer += row * Q + column
    if add:
        value += tl.load(pointer, mask=mask, other=0.0)
        tl.debug_barrier()
    tl.store(pointer, value, mask=mask)


@triton.jit
def _resize_backward(grad, P: tl.constexpr, PB: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr):
    """Aᵀ·G·A of one position's padded Q×Q gradient, padded P×P."""
    i, k = tl.arange(0, QB), tl.arange(0, PB)[None, :]
    low, high, fraction = _taps(i, P, Q)
    low, high, fraction = low[:, None], high[:, None], fraction[:, None]
    resize = tl.where(k == low, 1 - fraction, 0.0) + tl.where(k == high, fraction, 0.0)
    resize = tl.where((i < Q)[:, None], resize, 0.0)
    return tl.dot(tl.trans(resize), tl.dot(grad, resize, input_precision='ieee'), input_precision='ieee')


@_launched
def position_backward(x, y_grad, x_grad, matrices, step_lengths, weight, bias, means, variances, weight_grad, bias_grad,
                      matrix_parts, step_length_parts, states, state_grads,
                      batch, area, num_steps, spacing, slots, count, eps,
                      P: tl.constexpr, PB: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, BLOCK: tl.constexpr,
                      ROUND: tl.constexpr, DOT: tl.constexpr):
    """Every gradient, the trajectory recomputed from x and the statistics.

    ``slots`` states of the position at hand, one every ``spacing`` steps, and its gradient wait in ``states`` and
    ``state_grads``. The gradients of K and of the step lengths are summed over the program's positions in its own row
    of ``matrix_parts`` and ``step_length_parts`` (zeros at first): no atomics, one order of sums.
    """
    program = tl.program_id(0).to(tl.int64)
    slot_size = batch * (Q * Q)
    states += program * slots * slot_size
    state_grads += program * slot_size
    matrix_parts += program * num_steps * (Q * Q)
    step_length_parts += program * num_steps
    for position in range(program, area, tl.num_programs(0)):
        gamma, beta = tl.load(weight + position), tl.load(bias + position)
        for first in range(0, batch * Q, BLOCK):
            rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
            place = (rows * Q)[:, None] + j[None, :]
            state = _load_start(x, image, i, j, mask, P, Q)
            tl.store(states + place, state, mask=mask)
            for step in range(1, num_steps):
                matrix = _load_matrix(matrices, step - 1, Q, QB, ROUND, DOT)
                mean = tl.load(means + (step - 1) * area + position)
                rstd = tl.rsqrt(tl.load(variances + (step - 1) * area + position) + eps)
                state = _euler(state, matrix, mean, rstd, gamma, beta, tl.load(step_lengths + step - 1), ROUND, DOT)
                if step % spacing == 0:
                    tl.store(states + (step // spacing) * slot_size + place, state, mask=mask)
            end = y_grad + (image * (Q * Q))[:, None] + (i * Q)[:, None] + j[None, :]
            state_grad = tl.load(end, mask=mask, other=0.0)
            tl.store(state_grads + place, state_grad.to(tl.float32), mask=mask)
        tl.debug_barrier()
        total_weight, total_bias = 0.0, 0.0
        for back in range(num_steps):
            step = num_steps - 1 - back
            matrix = _load_matrix(matrices, step, Q, QB, ROUND, DOT)
            step_length, mean = tl.load(step_lengths + step), tl.load(means + step * area + position)
            rstd = tl.rsqrt(tl.load(variances + step * area + position) + eps)
            sum_grad, sum_product, sum_length = 0.0, 0.0, 0.0
            for first in range(0, batch * Q, BLOCK):
                rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
                state = _replay(states, slot_size, rows, j, mask, position, step, spacing, area, matrices, step_lengths,
                                means, variances, gamma, beta, eps, Q, QB, ROUND, DOT)
                state_grad = tl.load(state_grads + (rows * Q)[:, None] + j[None, :], mask=mask, other=0.0)
                normed = (_drive(state, matrix, ROUND, DOT) - mean) * rstd
                affine = normed * gamma + beta
                affine_grad = _affine_grad(state_grad * step_length, affine)
                sum_grad += tl.sum(affine_grad)
                sum_product += tl.sum(affine_grad * normed)
                sum_length += tl.sum(state_grad * (_relu6(affine) - state))
            total_bias += sum_grad
            total_weight += sum_product
            sum_length += tl.load(step_length_parts + step)
            matrix_grad = tl.zeros((QB, QB), tl.float32)
            for first in range(0, batch * Q, BLOCK):
                rows, image, i, j, mask = _batch_rows(first, position, batch, area, Q, QB, BLOCK)
                state = _replay(states, slot_size, rows, j, mask, position, step, spacing, area, matrices, step_lengths,
                                means, variances, gamma, beta, eps, Q, QB, ROUND, DOT)
                place = (rows * Q)[:, None] + j[None, :]
                state_grad = tl.load(state_grads + place, mask=mask, other=0.0)
                normed = (_drive(state, matrix, ROUND, DOT) - mean) * rstd
                affine_grad = _affine_grad(state_grad * step_length, normed * gamma + beta)
                drive_grad = gamma * rstd * (affine_grad - sum_grad / count - normed * (sum_product / count))
                drive_grad = tl.where(mask, drive_grad, 0.0)
                matrix_grad = _matrix_grad(matrix_grad, state, drive_grad, ROUND, DOT)
                state_grad = _state_grad(state_grad, drive_grad, matrix, step_length, ROUND, DOT)
                tl.debug_barrier()
                tl.store(state_grads + place, state_grad, mask=mask)
            tl.store(step_length_parts + step, sum_length)
            _store_matrix(matrix_parts + step * (Q * Q), matrix_grad, True, Q, QB)
            tl.debug_barrier()
        tl.store(weight_grad + position, total_weight)
        tl.store(bias_grad + position, total_bias)
        # One image at a time: Aᵀ mixes the rows of a position.
        for image in range(position, position + batch * area, area):
            i, j = tl.arange(0, QB)[:, None], tl.arange(0, QB)[None, :]
            mask = (i < Q) & (j < Q)
            state_grad = tl.load(state_grads + (image // area) * (Q * Q) + i * Q + j, mask=mask, other=0.0)
            state_grad += tl.load(y_grad + image * (Q * Q) + i * Q + j, mask=mask, other=0.0).to(tl.float32)
            _store_x_grad(x_grad, image, state_grad, P, PB, Q, QB)
        tl.debug_barrier()


@triton.jit
def _store_x_grad(x_grad, image, start_grad, P: tl.constexpr, PB: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr):
    """Gradient of one position of x from that of its start."""
    if P != Q:
        start_grad = _resize_backward(start_grad, P, PB, Q, QB)
    _store_matrix(x_grad + image * (P * P), start_grad.to(x_grad.dtype.element_ty), False, P, PB)


# Training with the channel norm: statistics over all positions stand between the steps, so each step is a launch. A
# tile is one position, padded to QB×QB: what is summed over the positions stays elementwise.


@triton.jit
def _load_channels(pointer, step, Q: tl.constexpr, QB: tl.constexpr):
    """A number for each channel, as a padded Q×Q matrix."""
    row, column = tl.arange(0, QB)[:, None], tl.arange(0, QB)[None, :]
    return tl.load(pointer + step * (Q * Q) + row * Q + column, mask=(row < Q) & (column < Q), other=0.0)


@triton.jit
def _channel_step(state, step, matrices, step_lengths, means, variances, gamma, beta, eps,
                  Q: tl.constexpr, QB: tl.constexpr, ROUND: tl.constexpr, DOT: tl.constexpr):
    """One step whose statistics are known."""
    matrix = _load_matrix(matrices, step, Q, QB, ROUND, DOT)
    mean, rstd = _load_channels(means, step, Q, QB), tl.rsqrt(_load_channels(variances, step, Q, QB) + eps)
    return _euler(state, matrix, mean, rstd, gamma, beta, tl.load(step_lengths + step), ROUND, DOT)


@triton.jit
def _load_position(pointer, image, P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr):
    """One position as a padded Q×Q matrix in float32, resized where it is a P×P one."""
    i, j = tl.arange(0, QB), tl.arange(0, QB)
    mask = (i < Q)[:, None] & (j < Q)[None, :]
    return _load_start(pointer, image + tl.zeros((QB,), tl.int64), i, j, mask, P, Q)


@_launched
def channel_forward(x, y, matrices, step_lengths, weight, bias, means, variances, states, mean_parts, square_parts,
                    total, step, eps, P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, FIRST: tl.constexpr,
                    FROM_X: tl.constexpr, LAST: tl.constexpr, ROUND: tl.constexpr, DOT: tl.constexpr):
    """Take step ``step`` − 1 (not where FIRST), then the statistics of ``step``'s drive, or (LAST) write y.

    Each program leaves the mean and the sum of squares about it of its own positions in its row of the parts.
    """
    program = tl.program_id(0).to(tl.int64)
    gamma, beta = _load_channels(weight, 0, Q, QB), _load_channels(bias, 0, Q, QB)
    mean, squares = tl.zeros((QB, QB), tl.float32), tl.zeros((QB, QB), tl.float32)
    seen = 0.0
    for image in range(program, total, tl.num_programs(0)):
        if FROM_X:
            state = _load_position(x, image, P, Q, QB)
        else:
            state = _load_position(states, image, Q, Q, QB)
        if not FIRST:
            state = _channel_step(state, step - 1, matrices, step_lengths, means, variances, gamma, beta, eps, Q, QB,
                                  ROUND, DOT)
            tl.debug_barrier()
        if LAST:
            state += _load_position(x, image, P, Q, QB)
            _store_matrix(y + image * (Q * Q), state.to(y.dtype.element_ty), False, Q, QB)
        else:
            if not FIRST:
                _store_matrix(states + image * (Q * Q), state, False, Q, QB)
            drive = _drive(state, _load_matrix(matrices, step, Q, QB, ROUND, DOT), ROUND, DOT)
            seen += 1.0
            shift = drive - mean
            mean += shift / seen
            squares += shift * (drive - mean)
    if not LAST:
        _store_matrix(mean_parts + program * (Q * Q), mean, False, Q, QB)
        _store_matrix(square_parts + program * (Q * Q), squares, False, Q, QB)


@_launched
def channel_states(x, matrices, step_lengths, weight, bias, means, variances, states, total, num_steps, spacing, eps,
                   P: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, ROUND: tl.constexpr, DOT: tl.constexpr):
    """The states before steps ``spacing``, 2·``spacing``, ...: one slot of ``states`` each."""
    gamma, beta = _load_channels(weight, 0, Q, QB), _load_channels(bias, 0, Q, QB)
    for image in range(tl.program_id(0).to(tl.int64), total, tl.num_programs(0)):
        state = _load_position(x, image, P, Q, QB)
        for step in range(1, num_steps):
            state = _channel_step(state, step - 1, matrices, step_lengths, means, variances, gamma, beta, eps, Q, QB,
                                  ROUND, DOT)
            if step % spacing == 0:
                _store_matrix(states + ((step // spacing - 1) * total + image) * (Q * Q), state, False, Q, QB)


@_launched
def channel_backward(x, y_grad, x_grad, matrices, step_lengths, weight, bias, means, variances, states, state_grads,
                     sums, first_parts, second_parts, step_length_parts, total, step, spacing, num_steps, count, eps,
                     P: tl.constexpr, PB: tl.constexpr, Q: tl.constexpr, QB: tl.constexpr, APPLY: tl.constexpr,
                     ROUND: tl.constexpr, DOT: tl.constexpr):
    """Of one step, the sums that its norm's gradient needs, or (APPLY), given them, the gradients.

    Sums: of the affine gradient (``first_parts``), of its product with the normed drive (``second_parts``), and the
    gradient of the step length, a row for each program. APPLY: the gradient of K (``first_parts``) and, in
    ``state_grads`` or for step 0 in ``x_grad``, of the state.
    """
    program = tl.program_id(0).to(tl.int64)
    gamma, beta = _load_channels(weight, 0, Q, QB), _load_channels(bias, 0, Q, QB)
    matrix = _load_matrix(matrices, step, Q, QB, ROUND, DOT)
    mean, rstd = _load_channels(means, step, Q, QB), tl.rsqrt(_load_channels(variances, step, Q, QB) + eps)
    step_length = tl.load(step_lengths + step)
    slot = step // spacing
    inside = (tl.arange(0, QB) < Q)[:, None] & (tl.arange(0, QB) < Q)[None, :]
    first, second = tl.zeros((QB, QB), tl.float32), tl.zeros((QB, QB), tl.float32)
    sum_length = 0.0
    if APPLY:
        mean_grad = _load_channels(sums, 0, Q, QB) / count
        mean_product = _load_channels(sums, 1, Q, QB) / count
    for image in range(program, total, tl.num_programs(0)):
        if slot == 0:
            state = _load_position(x, image, P, Q, QB)
        else:
            state = _load_position(states, (slot - 1) * total + image, Q, Q, QB)
        for earlier in range(slot * spacing, step):
            state = _channel_step(state, earlier, matrices, step_lengths, means, variances, gamma, beta, eps, Q, QB,
                                  ROUND, DOT)
        if step + 1 == num_steps:
            state_grad = _load_position(y_grad, image, Q, Q, QB)
        else:
            state_grad = _load_position(state_grads, image, Q, Q, QB)
        normed = (_drive(state, matrix, ROUND, DOT) - mean) * rstd
        affine = normed * gamma + beta
        affine_grad = _affine_grad(state_grad * step_length, affine)
        if APPLY:
            drive_grad = tl.where(inside, gamma * rstd * (affine_grad - mean_grad - normed * mean_product), 0.0)
            first = _matrix_grad(first, state, drive_grad, ROUND, DOT)
            state_grad = _state_grad(state_grad, drive_grad, matrix, step_length, ROUND, DOT)
            tl.debug_barrier()
            if step == 0:
                state_grad += _load_position(y_grad, image, Q, Q, QB)
                _store_x_grad(x_grad, image, state_grad, P, PB, Q, QB)
            else:
                _store_matrix(state_grads + image * (Q * Q), state_grad, False, Q, QB)
        else:
            first += affine_grad
            second += affine_grad * normed
            sum_length += tl.sum(state_grad * (_relu6(affine) - state))
    _store_matrix(first_parts + program * (Q * Q), first, False, Q, QB)
    if not APPLY:
        _store_matrix(second_parts + program * (Q * Q), second, False, Q, QB)
        tl.store(step_length_parts + program, sum_length)
