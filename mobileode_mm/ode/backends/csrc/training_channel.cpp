// Training with the channel norm. Its statistics are over all positions of the batch, and a step has to know them before
// it is taken: each step is a pass over the map, between which the states are kept, and its product is taken again.

#include "steps.h"
#include "threads.h"

#include <cmath>

namespace mobileode {
namespace {

// Sums of `numbers` over `count` positions: add(n, work, sums) adds those of position n, with room for `work_size`
// numbers. Short sums are made in T and summed in double, thread by thread in order: the same bits every time.
template <typename T, typename Add>
void sum_over(int64_t count, size_t numbers, size_t work_size, int threads, double *out, Add add) {
  constexpr int64_t SHORT = 64;
  Scratch<double> all(threads * numbers);
#pragma omp parallel num_threads(threads)
  {
    double *mine = all.get() + thread_number() * numbers;
    Scratch<T> work(work_size), sums(numbers);
#pragma omp for schedule(static) nowait
    for (int64_t block = 0; block < (count + SHORT - 1) / SHORT; ++block) {
      std::fill(sums.get(), sums.get() + numbers, T(0));
      for (int64_t n = block * SHORT; n < std::min(count, (block + 1) * SHORT); ++n) add(n, work.get(), sums.get());
      for (size_t i = 0; i < numbers; ++i) mine[i] += sums.get()[i];
    }
  }
  std::fill(out, out + numbers, 0.0);
  for (int t = 0; t < threads; ++t)
    for (size_t i = 0; i < numbers; ++i) out[i] += all.get()[t * numbers + i];
}

template <typename T, int NV> class ChannelForward {
  typedef Rows<T, NV> R;
  typedef typename R::Vec Vec;
  static constexpr int width = R::width;

 public:
  ChannelForward(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm, const T *x, T *y)
      : p(shape.p), q(shape.q), steps(shape.steps), threads(threads_here(shape.threads)),
        count(shape.batch * shape.positions), size(size_t(shape.q) * width), norm(norm),
        step_lengths(solver.step_lengths), x(x), y(y), resampling(shape.p, shape.q), transitions(steps * size),
        scale(size), shift(size) {
    R::transitions(shape, solver, transitions.get());
  }

  void run(const Statistics<T> &statistics) {
    const size_t work_size = 2 * size + resampling.scratch();
    Scratch<T> first(work_size);
    Scratch<double> totals(2 * size);
    for (int l = 0; l < steps; ++l) {
      const T *transition = transitions.get() + l * size;
      // Distances from those of one position, so that squares of a large mean cancel nothing.
      T *origin = first.get() + size;
      load(l, 0, first.get(), origin, first.get() + 2 * size);
      R::multiply(first.get(), transition, q, q, origin);
      sum_over<T>(count, 2 * size, work_size, threads, totals.get(), [&](int64_t n, T *work, T *sums) {
        T *state = work, *drive = work + size;
        load(l, n, state, drive, work + 2 * size);
        if (l > 0) R::keep(state, q, y + n * q * q);
        R::multiply(state, transition, q, q, drive);
        for (int64_t i = 0; i < q * NV; ++i) {
          const Vec distance = vec(drive)[i] - vec(origin)[i];
          vec(sums)[i] += distance;
          vec(sums + size)[i] += distance * distance;
        }
      });
      take_statistics(statistics, l, totals.get(), origin);
    }
    sum_over<T>(count, 0, work_size, threads, totals.get(), [&](int64_t n, T *work, T *) {
      T *state = work, *start = work + size;
      load(steps, n, state, start, work + 2 * size);
      resampling.load(x + n * p * p, start, work + 2 * size);
      R::keep_sum(state, start, q, y + n * q * q);
    });
  }

 private:
  // The state of position n before step l; y holds the one before that. `drive` is room for one.
  void load(int l, int64_t n, T *state, T *drive, T *scratch) const {
    if (l < 2)
      resampling.load(x + n * p * p, state, scratch);
    else
      unpack(y + n * q * q, q, state);
    if (l == 0) return;
    R::multiply(state, transitions.get() + (l - 1) * size, q, q, drive);
    const Vec *a = vec(scale.get()), *b = vec(shift.get());
    const T step_length = step_lengths[l - 1];
    const int64_t vectors = q * NV;
    for (int64_t i = 0; i < vectors; ++i)
      vec(state)[i] += step_length * (R::relu6(vec(drive)[i] * a[i] + b[i]) - vec(state)[i]);
  }

  // Statistics of step l from sums of distances from `origin` and of their squares; scale and shift become the step's.
  void take_statistics(const Statistics<T> &statistics, int l, const double *totals, const T *origin) {
    for (int channel = 0; channel < q * q; ++channel) {
      const size_t i = size_t(channel / q) * width + channel % q;
      const double distance = totals[i] / count;
      const double variance = std::max(totals[size + i] / count - distance * distance, 0.0);
      const double mean = origin[i] + distance, factor = norm.weight[channel] / std::sqrt(variance + norm.eps);
      statistics.mean[l * q * q + channel] = T(mean);
      statistics.variance[l * q * q + channel] = T(variance);
      scale.get()[i] = T(factor);
      shift.get()[i] = T(norm.bias[channel] - mean * factor);
    }
  }

  const int p, q, steps, threads;
  const int64_t count;
  const size_t size;  // numbers of a position's matrix
  const Norm<T> norm;
  const T *const step_lengths, *const x;
  T *const y;  // holds the states until it is the result
  const Resampling<T> resampling;
  Scratch<T> transitions, scale, shift;
};

template <typename T, int NV> class ChannelBackward {
  typedef Rows<T, NV> R;
  typedef typename R::Vec Vec;
  static constexpr int LANES = R::LANES, width = R::width;

 public:
  ChannelBackward(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                  const Statistics<const T> &statistics, const T *x, const T *y_grad)
      : p(shape.p), q(shape.q), steps(shape.steps), threads(threads_here(shape.threads)),
        count(shape.batch * shape.positions), size(size_t(shape.q) * width), of_batch(statistics.of_batch),
        step_lengths(solver.step_lengths), x(x), y_grad(y_grad), resampling(shape.p, shape.q, true),
        transitions(steps * size), transposed(steps * size), weight(size), bias(size), means(steps * size),
        rstds(steps * size), mean_grad(size), mean_product(size), states((steps - 1) * count * q * q, false),
        state_grads(count * q * q, false) {
    R::transitions(shape, solver, transitions.get());
    R::transitions(shape, solver, transposed.get(), true);
    unpack(norm.weight, q, weight.get());
    unpack(norm.bias, q, bias.get());
    for (int l = 0; l < steps; ++l) {
      const int row = of_batch ? l * q * q : 0;
      unpack(statistics.mean + row, q, means.get() + l * size);
      unpack(statistics.variance + row, q, rstds.get() + l * size);
      for (size_t i = l * size; i < (l + 1) * size; ++i) rstds.get()[i] = 1 / std::sqrt(rstds.get()[i] + norm.eps);
    }
  }

  void run(const Gradients<T> &gradients) {
    // A pass sums what the next one needs, of weight and bias, beside its own gradients of the matrix and the length.
    Scratch<double> totals(3 * size + LANES), norm_grads(2 * size);
    replay(totals.get());
    for (int l = steps - 1; l >= 0; --l) {
      for (size_t i = 0; i < 2 * size; ++i) norm_grads.get()[i] += totals.get()[i];
      for (size_t i = 0; of_batch && i < size; ++i) {
        mean_product.get()[i] = T(totals.get()[i] / count);
        mean_grad.get()[i] = T(totals.get()[size + i] / count);
      }
      step_back(l, gradients.x, totals.get());
      take(totals.get() + 2 * size, gradients.matrices + size_t(l) * q * q);
      gradients.step_lengths[l] = 0;
      for (int i = 0; i < LANES; ++i) gradients.step_lengths[l] += T(totals.get()[3 * size + i]);
    }
    take(norm_grads.get(), gradients.weight);
    take(norm_grads.get() + size, gradients.bias);
  }

 private:
  // Takes the steps again and keeps the states before steps 1, 2, ...; the sums of the last step's norm.
  void replay(double *totals) {
    sum_over<T>(count, 2 * size, work_size(), threads, totals, [&](int64_t n, T *work, T *sums) {
      T *state = work, *drive = state + size, *state_grad = drive + size;
      load(0, n, state, work + 4 * size);
      const int64_t vectors = q * NV;
      for (int l = 0;; ++l) {
        R::multiply(state, transitions.get() + l * size, q, q, drive);
        if (l + 1 == steps) break;
        const AtStep at = step(l);
        for (int64_t i = 0; i < vectors; ++i)
          vec(state)[i] += at.length * (R::relu6(at.affine(i, at.normed(i, drive))) - vec(state)[i]);
        R::keep(state, q, states.get() + (l * count + n) * q * q);
      }
      unpack(y_grad + n * q * q, q, state_grad);
      add_norm_gradients(steps - 1, drive, state_grad, sums);
    });
  }

  // Gradients of step l, given its norm's sums; the sums are of the norm of step l - 1, the matrix and the length.
  void step_back(int l, T *x_grad, double *totals) {
    sum_over<T>(count, 3 * size + LANES, work_size(), threads, totals, [&](int64_t n, T *work, T *sums) {
      T *state = work, *drive = state + size, *state_grad = drive + size, *drive_grad = state_grad + size;
      T *scratch = drive_grad + size;
      const T *transition = transitions.get() + l * size;
      load(l, n, state, scratch);
      R::multiply(state, transition, q, q, drive);
      unpack((l + 1 == steps ? y_grad : state_grads.get()) + n * q * q, q, state_grad);
      const AtStep at = step(l);
      const Vec *grads = vec(mean_grad.get()), *products = vec(mean_product.get());
      const int64_t vectors = q * NV;
      for (int64_t i = 0; i < vectors; ++i) {
        const Vec normed = at.normed(i, drive), affine = at.affine(i, normed);
        vec(sums + 3 * size)[0] += vec(state_grad)[i] * (R::relu6(affine) - vec(state)[i]);
        vec(drive_grad)[i] = at.weight[i] * at.rstd[i]
                             * (at.affine_grad(affine, vec(state_grad)[i]) - grads[i] - normed * products[i]);
      }
      R::add_matrix_gradient(state, drive_grad, q, q, sums + 2 * size);
      R::state_gradient(state_grad, drive_grad, transposed.get() + l * size, at.length, q, q, state_grad);
      if (l > 0) {
        R::keep(state_grad, q, state_grads.get() + n * q * q);
        load(l - 1, n, state, scratch);
        R::multiply(state, transition - size, q, q, drive);
        add_norm_gradients(l - 1, drive, state_grad, sums);
      } else {
        unpack(y_grad + n * q * q, q, drive);  // the start is added to the end
        for (int64_t i = 0; i < vectors; ++i) vec(state_grad)[i] += vec(drive)[i];
        resampling.unload(state_grad, x_grad + n * p * p, scratch);
      }
    });
  }

  // The norm of a step, and the step's length.
  struct AtStep {
    const Vec *mean, *rstd, *weight, *bias;
    T length;

    INLINE Vec normed(int64_t i, const T *drive) const { return (vec(drive)[i] - mean[i]) * rstd[i]; }
    INLINE Vec affine(int64_t i, Vec normed) const { return normed * weight[i] + bias[i]; }
    INLINE Vec affine_grad(Vec affine, Vec state_grad) const {
      const Vec zero = Vec{}, six = zero + T(6);
      return (affine > zero) & (affine < six) ? state_grad * length : zero;
    }
  };

  AtStep step(int l) const {
    return {vec(means.get() + l * size), vec(rstds.get() + l * size), vec(weight.get()), vec(bias.get()),
            step_lengths[l]};
  }

  // Adds what step l gives to the gradients of weight and bias.
  void add_norm_gradients(int l, const T *drive, const T *state_grad, T *sums) const {
    const AtStep at = step(l);
    const int64_t vectors = q * NV;
    Vec *of_weight = vec(sums), *of_bias = vec(sums + size);
    for (int64_t i = 0; i < vectors; ++i) {
      const Vec normed = at.normed(i, drive), grad = at.affine_grad(at.affine(i, normed), vec(state_grad)[i]);
      of_weight[i] += grad * normed;
      of_bias[i] += grad;
    }
  }

  // The state of position n before step l.
  void load(int l, int64_t n, T *state, T *scratch) const {
    if (l == 0)
      resampling.load(x + n * p * p, state, scratch);
    else
      unpack(states.get() + ((l - 1) * count + n) * q * q, q, state);
  }

  void take(const double *from, T *to) const {
    for (int i = 0; i < q; ++i)
      for (int j = 0; j < q; ++j) to[i * q + j] = T(from[size_t(i) * width + j]);
  }

  // Numbers that a thread works in: state, drive, their gradients, and what the resampling needs.
  size_t work_size() const { return 4 * size + resampling.scratch(); }

  const int p, q, steps, threads;
  const int64_t count;
  const size_t size;  // numbers of a position's matrix
  const bool of_batch;
  const T *const step_lengths, *const x, *const y_grad;
  const Resampling<T> resampling;
  Scratch<T> transitions, transposed;
  Scratch<T> weight, bias, means, rstds;   // of whole vectors; the last two a row for each step
  Scratch<T> mean_grad, mean_product;      // over the batch, of the affine gradient and of it times the normed drive
  Scratch<T> states, state_grads;          // of all positions: states before steps 1, 2, ...; gradients after a step
};

}  // namespace

template <typename T>
void forward_channel(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                     const Statistics<T> &statistics, const T *x, T *y) {
  with_vectors<T>(shape.q, [&](auto vectors) {
    ChannelForward<T, decltype(vectors)::value>(shape, solver, norm, x, y).run(statistics);
  });
}

template <typename T>
void backward_channel(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                      const Statistics<const T> &statistics, const T *x, const T *y_grad,
                      const Gradients<T> &gradients) {
  with_vectors<T>(shape.q, [&](auto vectors) {
    ChannelBackward<T, decltype(vectors)::value>(shape, solver, norm, statistics, x, y_grad).run(gradients);
  });
}

#define INSTANTIATE(T)                                                                                                \
  template void forward_channel(const Shape &, const Solver<T> &, const Norm<T> &, const Statistics<T> &, const T *,  \
                                T *);                                                                                 \
  template void backward_channel(const Shape &, const Solver<T> &, const Norm<T> &, const Statistics<const T> &,      \
                                 const T *, const T *, const Gradients<T> &);

INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace mobileode
