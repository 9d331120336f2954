// Inference: all steps of a position while its channels are in the innermost cache. A map is read once, written once.

#include "steps.h"
#include "threads.h"

#include <cmath>

namespace mobileode {
namespace {

// Transitions of whole vectors, and the lengths of the steps.
template <typename T> struct Steps {
  const T *transitions, *lengths;
  int count, q;
};

template <typename T, int NV> struct Inference {
  typedef Rows<T, NV> R;
  typedef typename R::Vec Vec;
  static constexpr int width = R::width;

  // All steps from `start`. affine_at(l)(i, drive) is the step's length times the norm of the drive, of which i is the
  // number of the vector in its position.
  template <typename AffineAt>
  static INLINE void relax(const T *start, T *state, const Steps<T> steps, AffineAt affine_at) {
    // Steps outside: blocks that follow each other do not wait for each other.
    const T *from = start;
    for (int l = 0; l < steps.count; ++l, from = state) {
      // step_length * relu6(z) is the clamp of step_length * z, as no step goes back: an operation less.
      const T step_length = steps.lengths[l];
      const Vec zero = Vec{}, most = zero + T(6) * step_length, stays = zero + (1 - step_length);
      const auto affine = affine_at(l);
      in_blocks<R::BLOCK>(steps.q, [&](auto block, int64_t i) INLINE_LAMBDA {
        const Vec *before = vec(from + i * width);
        Vec *after = vec(state + i * width);
        const T *transition = steps.transitions + l * steps.q * width;
        R::template times<decltype(block)::value>(
            from + i * width, transition, steps.q, [&](int r, int v, Vec drive) INLINE_LAMBDA {
              const Vec target = affine((i + r) * NV + v, drive);
              after[r * NV + v] = before[r * NV + v] * stays + smaller(most, larger(zero, target));
            });
      });
    }
  }

  // All positions: affine_of(n) is that of position n as relax() takes it.
  template <typename AffineOf>
  static INLINE void solve(const Shape &shape, const Steps<T> &all_steps, const Epilogue<T> &epilogue, const T *x, T *y,
                           AffineOf affine_of_all) {
    const int p = shape.p, q = shape.q;
    const int64_t count = shape.batch * shape.positions;
    const size_t size = size_t(q) * width;
    const Resampling<T> resampling(p, q);
    Scratch<T> wide_scale(epilogue.scale ? size : 0), wide_shift(epilogue.scale ? size : 0);
    if (epilogue.scale) {
      unpack(epilogue.scale, q, wide_scale.get());
      unpack(epilogue.shift, q, wide_shift.get());
    }
    const Vec *a = vec(wide_scale.get()), *b = vec(wide_shift.get());
#pragma omp parallel num_threads(threads_here(shape.threads))
    {
      // Copies of the thread's own stay in registers; what the threads share is read again after every store.
      const Steps<T> steps = all_steps;
      const Epilogue<T> after = epilogue;
      const AffineOf affine_of = affine_of_all;
      Scratch<T> resized(size), states(size), scratch(resampling.scratch());
      T *loaded = resized.get(), *state = states.get();
      // Rows of whole vectors, which are resampled to none, are read where they are.
      const bool as_they_are = p == q && q == width && reinterpret_cast<uintptr_t>(x) % VECTOR_BYTES == 0;
#pragma omp for schedule(static) nowait
      for (int64_t n = 0; n < count; ++n) {
        prefetch<true>(y + (n + 1) * q * q, q * q);
        if (p <= q) prefetch<false>(x + (n + 1) * p * p, p * p);  // the larger ones stream in well enough
        const T *start = x + n * p * p;
        if (!as_they_are) {
          resampling.load(start, loaded, scratch.get());
          start = loaded;
        }
        relax(start, state, steps, affine_of(n));
        if (after.scale) {
          for (int i = 0; i < q * NV; ++i)
            vec(state)[i] = R::relu6((vec(state)[i] + vec(start)[i]) * a[i] + b[i]);
          if (after.residual)
            unpack(after.residual + n * q * q, q, loaded);
          else
            std::fill(loaded, loaded + size, T(0));
          start = loaded;
        }
        R::keep_sum(state, start, q, y + n * q * q);
      }
    }
  }

  static void run(const Shape &shape, const Solver<T> &solver, const Affine<T> &norm, const Epilogue<T> &after,
                  const T *x, T *y) {
    const int q = shape.q;
    const int64_t positions = shape.positions;
    const size_t size = size_t(q) * width;
    Scratch<T> transitions(shape.steps * size), lengths(shape.steps);
    R::transitions(shape, solver, transitions.get());
    T *step_length = lengths.get();
    for (int l = 0; l < shape.steps; ++l)
      step_length[l] = solver.step_lengths[l] < solver.least_step ? solver.least_step : solver.step_lengths[l];
    const Steps<T> steps = {transitions.get(), step_length, shape.steps, q};
    if (norm.by_channel) {
      Scratch<T> scale(size), shift(size);
      unpack(norm.scale, q, scale.get());
      unpack(norm.shift, q, shift.get());
      const Vec *a = vec(scale.get()), *b = vec(shift.get());
      solve(shape, steps, after, x, y, [=](int64_t) INLINE_LAMBDA {
        return [=](int l) INLINE_LAMBDA {
          const T length = step_length[l];
          return [=](int64_t i, Vec drive) INLINE_LAMBDA { return length * (drive * a[i] + b[i]); };
        };
      });
    } else {
      const T *scales = norm.scale, *shifts = norm.shift;
      solve(shape, steps, after, x, y, [=](int64_t n) INLINE_LAMBDA {
        const T scale = scales[n % positions], shift = shifts[n % positions];
        return [=](int l) INLINE_LAMBDA {
          const Vec zero = Vec{}, a = zero + step_length[l] * scale, b = zero + step_length[l] * shift;
          return [=](int64_t, Vec drive) INLINE_LAMBDA { return drive * a + b; };
        };
      });
    }
  }
};

}  // namespace

template <typename T>
void infer_deployed(const Shape &shape, const Solver<T> &solver, const Affine<T> &norm, const Epilogue<T> &after,
                    const T *x, T *y) {
  with_vectors<T>(shape.q, [&](auto vectors) {
    Inference<T, decltype(vectors)::value>::run(shape, solver, norm, after, x, y);
  });
}

template <typename T>
void infer(const Shape &shape, const Solver<T> &solver, const Norm<T> &norm, const Statistics<const T> &statistics,
           const T *x, T *y) {
  const int64_t count = norm.by_channel ? shape.q * shape.q : shape.positions;
  Scratch<T> scale(count, false), shift(count, false);
  for (int64_t i = 0; i < count; ++i) {
    scale.get()[i] = norm.weight[i] / std::sqrt(statistics.variance[i] + norm.eps);
    shift.get()[i] = norm.bias[i] - statistics.mean[i] * scale.get()[i];
  }
  infer_deployed(shape, solver, Affine<T>{scale.get(), shift.get(), norm.by_channel}, Epilogue<T>{}, x, y);
}

#define INSTANTIATE(T)                                                                                                \
  template void infer(const Shape &, const Solver<T> &, const Norm<T> &, const Statistics<const T> &, const T *, T *); \
  template void infer_deployed(const Shape &, const Solver<T> &, const Affine<T> &, const Epilogue<T> &, const T *,   \
                               T *);

INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace mobileode
