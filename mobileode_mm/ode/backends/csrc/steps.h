// The arithmetic that the passes share: products with a step's matrix, of rows of NV vectors.
#pragma once

#include "resampling.h"
#include "solver.h"
#include "vectors.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace mobileode {

inline int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Rows of q numbers, held as `width` of them.
template <typename T, int NV> struct Rows {
  typedef typename Vector<T>::type Vec;
  static constexpr int LANES = Vector<T>::LANES;
  static constexpr int width = NV * LANES;
  static constexpr int BLOCK = std::max(1, std::min(12, ACCUMULATORS / NV));

  static Vec relu6(Vec z) {
    const Vec zero = Vec{};
    return smaller(zero + T(6), larger(zero, z));
  }

  static T sum(Vec v) {
    T total = 0;
    for (int i = 0; i < LANES; ++i) total += v[i];
    return total;
  }

  // The transition of every step, I + K; transposed where `transpose`.
  static void transitions(const Shape &shape, const Solver<T> &solver, T *out, bool transpose = false) {
    const int q = shape.q;
    for (int l = 0; l < shape.steps; ++l)
      for (int i = 0; i < q; ++i)
        for (int j = 0; j < q; ++j) {
          const T value = solver.matrices[(size_t(l) * q + i) * q + j] + (i == j ? solver.identity : T(0));
          out[(size_t(l) * q + (transpose ? j : i)) * width + (transpose ? i : j)] = value;
        }
  }

  // store(row, v, z) takes vector v of each row of y times the matrix, for R rows.
  template <int R, typename Store> static INLINE void times(const T *y, const T *matrix, int q, Store store) {
    Vec acc[R][NV] = {};
    for (int k = 0; k < q; ++k) {
      const Vec *m = vec(matrix + size_t(k) * width);
      for (int r = 0; r < R; ++r) {
        const T factor = y[r * width + k];
        for (int v = 0; v < NV; ++v) acc[r][v] += factor * m[v];
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) store(r, v, acc[r][v]);
  }

  // store(i, z) takes the i-th vector of y times the matrix, for `count` rows.
  template <typename Store> static INLINE void product(const T *y, const T *matrix, int q, int64_t count, Store store) {
    in_blocks<BLOCK>(count, [&](auto block, int64_t i) INLINE_LAMBDA {
      times<decltype(block)::value>(y + i * width, matrix, q, [&](int r, int v, Vec z) INLINE_LAMBDA {
        store((i + r) * NV + v, z);
      });
    });
  }

  // drive = state * transition, for `count` rows.
  static NOINLINE void multiply(const T *state, const T *transition, int q, int64_t count, T *drive) {
    product(state, transition, q, count, [=](int64_t i, Vec v) INLINE_LAMBDA { vec(drive)[i] = v; });
  }

  // The gradient of the state before a step, from that of the state after it, which it may overwrite. `transposed` is
  // the transition's transpose.
  static NOINLINE void state_gradient(const T *after, const T *drive_grad, const T *transposed, T step_length, int q,
                                      int64_t count, T *before) {
    product(drive_grad, transposed, q, count, [=](int64_t i, Vec v) INLINE_LAMBDA {
      vec(before)[i] = vec(after)[i] * (1 - step_length) + v;
    });
  }

  // matrix_grad += state^T * drive_grad, over `count` rows of both.
  static NOINLINE void add_matrix_gradient(const T *state, const T *drive_grad, int q, int64_t count, T *matrix_grad) {
    in_blocks<BLOCK>(q, [&](auto block, int64_t k) INLINE_LAMBDA {
      constexpr int R = decltype(block)::value;
      Vec acc[R][NV] = {};
      for (int64_t n = 0; n < count; ++n) {
        const Vec *row = vec(drive_grad + n * width);
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) acc[r][v] += state[n * width + k + r] * row[v];
      }
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) vec(matrix_grad + (k + r) * width)[v] += acc[r][v];
    });
  }

  // Rows of whole vectors to q * q numbers.
  static INLINE void keep(const T *rows, int q, T *out) {
    pack(q, out, [=](int i) INLINE_LAMBDA { return vec(rows)[i]; });
  }

  // The end and the start of a position, added, to q * q numbers.
  static INLINE void keep_sum(const T *end, const T *start, int q, T *out) {
    pack(q, out, [=](int i) INLINE_LAMBDA { return vec(end)[i] + vec(start)[i]; });
  }
};

// Calls `call(NV)`, a constant, for the number of vectors that hold a row of q, which is LARGEST_SIDE at most.
template <typename T, int NV = 1, typename Call> void with_vectors(int q, Call call) {
  if (q <= NV * Vector<T>::LANES) {
    call(std::integral_constant<int, NV>());
  } else if constexpr (NV * Vector<T>::LANES < LARGEST_SIDE) {
    with_vectors<T, NV + 1>(q, call);
  }
}

}  // namespace mobileode
