// What the kernels compute, and of what: the boundary between them and what calls them.
//
// Tensors are dense: a map x or y is (batch, positions, side * side), a position's matrix by rows. The names and the
// formulas are those of docs/kernels.md; cos_naive in naive.py is the forward pass written plainly.
#pragma once

#include <cstdint>

namespace mobileode {

struct Shape {
  int64_t batch, positions;
  int p, q;  // sides of the matrices in and out
  int steps;
  int threads;  // that share the work
};

template <typename T> struct Solver {
  const T *matrices;      // (steps, q, q)
  T identity;             // what makes transitions of them on the diagonal: 1, or 0 where they are transitions
  const T *step_lengths;  // (steps,)
  T least_step;           // the length of steps that are shorter, 0 or more; training takes them as they are
};

// Weight, bias and statistics are (positions,), or (q * q,) where the norm is one of channels.
template <typename T> struct Norm {
  const T *weight, *bias;
  T eps;
  bool by_channel;
};

// Mean and biased variance: a row for each step where they are the batch's own, else one row for all of them.
template <typename T> struct Statistics {
  T *mean, *variance;
  bool of_batch;
};

// A norm of fixed statistics, folded.
template <typename T> struct Affine {
  const T *scale, *shift;
  bool by_channel;
};

// relu6(y * scale + shift) + residual; scale and shift are (q * q,). Null: nothing follows, or no residual.
template <typename T> struct Epilogue {
  const T *scale, *shift, *residual;
};

template <typename T> struct Gradients {
  T *x, *matrices, *step_lengths, *weight, *bias;
};

// In inference.cpp: the norm by fixed statistics.
template <typename T>
void infer(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm, const Statistics<const T> &statistics,
           const T *x, T *y);
template <typename T>
void infer_deployed(const Shape &shape, const Solver<T> &solver, const Affine<T> &norm, const Epilogue<T> &after,
                    const T *x, T *y);

// In training_position.cpp and training_channel.cpp: the norm by the batch's statistics, which the forward pass writes;
// the gradients by these or by fixed ones.
template <typename T>
void forward_position(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                      const Statistics<T> &statistics, const T *x, T *y);
template <typename T>
void forward_channel(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                     const Statistics<T> &statistics, const T *x, T *y);
template <typename T>
void backward_position(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                       const Statistics<const T> &statistics, const T *x, const T *y_grad,
                       const Gradients<T> &gradients);
template <typename T>
void backward_channel(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm,
                      const Statistics<const T> &statistics, const T *x, const T *y_grad,
                      const Gradients<T> &gradients);

}  // namespace mobileode
