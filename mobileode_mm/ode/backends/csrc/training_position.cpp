// Training with the position norm: one position after the other over the whole batch, which is all that its statistics
// need. The backward pass recomputes a position's trajectory; between the passes nothing of it is kept.

#include "steps.h"
#include "threads.h"

#include <cmath>

namespace mobileode {
namespace {

template <typename T, int NV> class PositionTraining {
  typedef Rows<T, NV> R;
  typedef typename R::Vec Vec;
  static constexpr int width = R::width;

 public:
  PositionTraining(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm, bool with_backward)
      : p(shape.p), q(shape.q), steps(shape.steps), threads(threads_here(shape.threads)), batch(shape.batch),
        positions(shape.positions), rows(shape.batch * shape.q), size(size_t(shape.q) * width), norm(norm),
        step_lengths(solver.step_lengths), resampling(shape.p, shape.q, with_backward),
        transitions(steps * size), transposed(with_backward ? steps * size : 0) {
    R::transitions(shape, solver, transitions.get());
    if (with_backward) R::transitions(shape, solver, transposed.get(), true);
  }

  void forward(const Statistics<T> &statistics, const T *x, T *y) const {
#pragma omp parallel num_threads(threads)
    {
      Scratch<T> start(rows * width), states(rows * width), drives(rows * width), scratch(resampling.scratch());
      T *state = states.get(), *drive = drives.get();
#pragma omp for schedule(static) nowait
      for (int64_t s = 0; s < positions; ++s) {
        for (int64_t b = 0; b < batch; ++b)
          resampling.load(x + (b * positions + s) * p * p, start.get() + b * size, scratch.get());
        const T *from = start.get();
        for (int l = 0; l < steps; ++l, from = state) {
          T &mean = statistics.mean[l * positions + s], &variance = statistics.variance[l * positions + s];
          R::multiply(from, transitions.get() + l * size, q, rows, drive);
          moments(drive, mean, variance);
          advance(from, drive, l, s, mean, variance, state);
        }
        for (int64_t b = 0; b < batch; ++b)
          R::keep_sum(state + b * size, start.get() + b * size, q, y + (b * positions + s) * q * q);
      }
    }
  }

  void backward(const Statistics<const T> &statistics, const T *x, const T *y_grad, const Gradients<T> &gradients) const {
    // Each thread sums its positions in order, and the threads are summed in order: the same bits every time.
    Scratch<T> matrix_grads(threads * steps * size);
    Scratch<double> step_length_grads(size_t(threads) * steps);
#pragma omp parallel num_threads(threads)
    {
      Trajectory of(*this);
      of.matrix_grads = matrix_grads.get() + thread_number() * steps * size;
      of.step_length_grads = step_length_grads.get() + size_t(thread_number()) * steps;
#pragma omp for schedule(static) nowait
      for (int64_t s = 0; s < positions; ++s) {
        replay(statistics, s, x, y_grad, of);
        T weight_grad = 0, bias_grad = 0;
        for (int l = steps - 1; l >= 0; --l) step_back(statistics, l, s, of, weight_grad, bias_grad);
        gradients.weight[s] = weight_grad;
        gradients.bias[s] = bias_grad;
        T *start_grad = of.state_grad.get();
        for (int64_t i = 0; i < rows * NV; ++i) vec(start_grad)[i] += vec(of.y_grad.get())[i];
        for (int64_t b = 0; b < batch; ++b)
          resampling.unload(start_grad + b * size, gradients.x + (b * positions + s) * p * p, of.scratch.get());
      }
    }
    add_threads(matrix_grads.get(), step_length_grads.get(), gradients);
  }

 private:
  // What a thread holds of the position at hand: states before each step and their drives, then gradients.
  struct Trajectory {
    explicit Trajectory(const PositionTraining &of)
        : states(of.rows * width * of.steps), drives(of.rows * width * of.steps), state_grad(of.rows * width),
          y_grad(of.rows * width), drive_grad(of.rows * width), scratch(of.resampling.scratch()) {}

    Scratch<T> states, drives, state_grad, y_grad, drive_grad, scratch;
    T *matrix_grads;            // the thread's own sums
    double *step_length_grads;
  };

  // The trajectory of position s, by statistics that are known, and the gradient of its end.
  void replay(const Statistics<const T> &statistics, int64_t s, const T *x, const T *y_grad, Trajectory &of) const {
    for (int64_t b = 0; b < batch; ++b) {
      resampling.load(x + (b * positions + s) * p * p, of.states.get() + b * size, of.scratch.get());
      unpack(y_grad + (b * positions + s) * q * q, q, of.y_grad.get() + b * size);
    }
    for (int l = 0; l < steps; ++l) {
      const T *state = of.states.get() + l * rows * width;
      T *drive = of.drives.get() + l * rows * width;
      R::multiply(state, transitions.get() + l * size, q, rows, drive);
      const int64_t at = (statistics.of_batch ? l * positions : 0) + s;
      if (l + 1 < steps)
        advance(state, drive, l, s, statistics.mean[at], statistics.variance[at],
                of.states.get() + (l + 1) * rows * width);
    }
  }

  // Gradients of step l at position s, of whose end state_grad is the gradient, or y_grad in the last step.
  void step_back(const Statistics<const T> &statistics, int l, int64_t s, Trajectory &of, T &weight_grad,
                 T &bias_grad) const {
    const int64_t at = (statistics.of_batch ? l * positions : 0) + s;
    const T *state = of.states.get() + l * rows * width, *drive = of.drives.get() + l * rows * width;
    const T *after = (l + 1 == steps ? of.y_grad : of.state_grad).get();
    T *drive_grad = of.drive_grad.get();
    const T mean = statistics.mean[at], rstd = 1 / std::sqrt(statistics.variance[at] + norm.eps);
    const T step_length = step_lengths[l], weight = norm.weight[s], bias = norm.bias[s];
    const int64_t vectors = rows * NV;
    const Vec zero = Vec{}, six = zero + T(6);
    Vec length_total = Vec{}, total = Vec{}, product_total = Vec{};
    for (int64_t i = 0; i < vectors; ++i) {
      const Vec normed = (vec(drive)[i] - mean) * rstd, affine = normed * weight + bias;
      const Vec coming = vec(after)[i];
      length_total += coming * (R::relu6(affine) - vec(state)[i]);
      const Vec affine_grad = (affine > zero) & (affine < six) ? coming * step_length : zero;
      vec(drive_grad)[i] = affine_grad;
      total += affine_grad;
      product_total += affine_grad * normed;
    }
    const T sum_grad = R::sum(total), sum_product = R::sum(product_total);
    of.step_length_grads[l] += R::sum(length_total);
    bias_grad += sum_grad;
    weight_grad += sum_product;
    const T factor = weight * rstd, count = T(rows * q);
    const T mean_grad = statistics.of_batch ? sum_grad / count : 0;
    const T mean_product = statistics.of_batch ? sum_product / count : 0;
    for (int64_t i = 0; i < vectors; ++i)
      vec(drive_grad)[i] = factor * (vec(drive_grad)[i] - mean_grad - (vec(drive)[i] - mean) * rstd * mean_product);
    R::add_matrix_gradient(state, drive_grad, q, rows, of.matrix_grads + l * size);
    R::state_gradient(after, drive_grad, transposed.get() + l * size, step_length, q, rows, of.state_grad.get());
  }

  // The gradients of all threads, in their order.
  void add_threads(const T *matrix_grads, const double *step_length_grads, const Gradients<T> &gradients) const {
    for (int l = 0; l < steps; ++l) {
      double total = 0;
      for (int t = 0; t < threads; ++t) total += step_length_grads[size_t(t) * steps + l];
      gradients.step_lengths[l] = T(total);
      for (int i = 0; i < q; ++i)
        for (int j = 0; j < q; ++j) {
          T sum = 0;
          for (int t = 0; t < threads; ++t) sum += matrix_grads[(t * steps + l) * size + size_t(i) * width + j];
          gradients.matrices[(size_t(l) * q + i) * q + j] = sum;
        }
    }
  }

  // Step l of position s: next = state + step_length * (target - state).
  void advance(const T *state, const T *drive, int l, int64_t s, T mean, T variance, T *next) const {
    const T step_length = step_lengths[l], bias = norm.bias[s];
    const T scale = norm.weight[s] / std::sqrt(variance + norm.eps);
    const int64_t vectors = rows * NV;
    for (int64_t i = 0; i < vectors; ++i) {
      const Vec before = vec(state)[i];
      vec(next)[i] = before + step_length * (R::relu6((vec(drive)[i] - mean) * scale + bias) - before);
    }
  }

  // Mean and biased variance of the q used lanes of all rows, of which the idle ones are zero.
  void moments(const T *drive, T &mean, T &variance) const {
    const T sum = total(rows, [=](int64_t n, int v) INLINE_LAMBDA { return vec(drive)[n * NV + v]; });
    const T middle = mean = sum / T(rows * q);
    T used[width] __attribute__((aligned(VECTOR_BYTES))) = {};
    std::fill(used, used + q, T(1));
    const Vec *in_use = vec(used);
    variance = total(rows, [=](int64_t n, int v) INLINE_LAMBDA {
      const Vec distance = (vec(drive)[n * NV + v] - middle) * in_use[v];
      return distance * distance;
    }) / T(rows * q);
  }

  // Sum of term(row, v) over the vectors of `count` rows, by four sums that do not wait for each other.
  template <typename Term> static INLINE T total(int64_t count, Term term) {
    Vec parts[4] = {};
    int64_t n = 0;
    for (; n + 4 <= count; n += 4)
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < NV; ++v) parts[r] += term(n + r, v);
    for (; n < count; ++n)
      for (int v = 0; v < NV; ++v) parts[0] += term(n, v);
    return R::sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
  }

  const int p, q, steps, threads;
  const int64_t batch, positions, rows;  // `rows`: of a position, over the batch
  const size_t size;                     // numbers of a position's matrix
  const Norm<T> norm;
  const T *const step_lengths;
  const Resampling<T> resampling;
  Scratch<T> transitions, transposed;
};

}  // namespace

template <typename T>
void forward_position(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                      const Statistics<T> &statistics, const T *x, T *y) {
  with_vectors<T>(shape.q, [&](auto vectors) {
    PositionTraining<T, decltype(vectors)::value>(shape, solver, norm, false).forward(statistics, x, y);
  });
}

template <typename T>
void backward_position(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                       const Statistics<const T> &statistics, const T *x, const T *y_grad,
                       const Gradients<T> &gradients) {
  with_vectors<T>(shape.q, [&](auto vectors) {
    PositionTraining<T, decltype(vectors)::value>(shape, solver, norm, true).backward(statistics, x, y_grad, gradients);
  });
}

#define INSTANTIATE(T)                                                                                                \
  template void forward_position(const Shape &, const Solver<T> &, const Norm<T> &, const Statistics<T> &, const T *, \
                                 T *);                                                                                \
  template void backward_position(const Shape &, const Solver<T> &, const Norm<T> &, const Statistics<const T> &,     \
                                  const T *, const T *, const Gradients<T> &);

INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace mobileode
