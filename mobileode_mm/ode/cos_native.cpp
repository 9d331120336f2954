// The channelwise ODE solver for CPUs: all Euler steps of a position while its channels are in the innermost cache.
//
// Tensors are dense: x and y are (batch, positions, p*p) and (batch, positions, q*q), rows of a position's matrix first;
// matrices K are (steps, q, q). cos_naive in naive.py is the same arithmetic, written plainly.
//
// A row of q channels is held as `width` = NV * LANES numbers, the last ones idle: they are never read as inputs of a
// product, sums leave them out, and they are not written back.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

constexpr int VECTOR_BYTES = 64;
// Accumulators of 64 bytes that fit in the registers beside the operands.
#ifdef __AVX512F__
constexpr int ACCUMULATORS = 24;
#else
constexpr int ACCUMULATORS = 6;
#endif

template <typename T> struct Vector {
  typedef T type __attribute__((vector_size(VECTOR_BYTES), may_alias));
  static constexpr int LANES = VECTOR_BYTES / sizeof(T);
};

template <typename T> class Scratch {
 public:
  explicit Scratch(size_t count)
      : data_(static_cast<T *>(::operator new(std::max<size_t>(count, 1) * sizeof(T), std::align_val_t(64)))) {
    std::fill(data_, data_ + count, T(0));
  }
  ~Scratch() { ::operator delete(data_, std::align_val_t(64)); }
  Scratch(const Scratch &) = delete;
  T *get() const { return data_; }

 private:
  T *data_;
};

// Bilinear resampling of one axis as two taps: value[i] = low[i] * v[first[i]] + high[i] * v[second[i]].
template <typename T> struct Taps {
  int size_in, size_out;
  std::vector<int> first, second;
  std::vector<T> low, high;

  Taps(int size_in, int size_out) : size_in(size_in), size_out(size_out) {
    for (int i = 0; i < size_out; ++i) {
      double at = std::max((i + 0.5) * (double(size_in) / size_out) - 0.5, 0.0);
      int floor = std::min(int(at), size_in - 1);
      first.push_back(floor);
      second.push_back(std::min(floor + 1, size_in - 1));
      low.push_back(T(1 - (at - floor)));
      high.push_back(T(at - floor));
    }
  }
};

// One position: p*p numbers to q rows of `width`.
template <typename T>
void load(const T *x, const Taps<T> &taps, int width, T *y, T *rows) {
  const int p = taps.size_in, q = taps.size_out;
  if (p == q) {
    for (int i = 0; i < q; ++i) std::memcpy(y + size_t(i) * width, x + size_t(i) * q, q * sizeof(T));
    return;
  }
  for (int i = 0; i < q; ++i) {
    const T *a = x + taps.first[i] * p, *b = x + taps.second[i] * p;
    const T low = taps.low[i], high = taps.high[i];
    for (int k = 0; k < p; ++k) rows[k] = low * a[k] + high * b[k];
    T *out = y + size_t(i) * width;
    for (int j = 0; j < q; ++j) out[j] = taps.low[j] * rows[taps.first[j]] + taps.high[j] * rows[taps.second[j]];
  }
}

// The transpose of load: gradients of q rows of `width` to p*p numbers.
template <typename T>
void unload(const T *gradient, const Taps<T> &taps, int width, T *x, T *rows) {
  const int p = taps.size_in, q = taps.size_out;
  if (p == q) {
    for (int i = 0; i < q; ++i) std::memcpy(x + size_t(i) * q, gradient + size_t(i) * width, q * sizeof(T));
    return;
  }
  std::fill(x, x + size_t(p) * p, T(0));
  for (int i = 0; i < q; ++i) {
    std::fill(rows, rows + p, T(0));
    const T *in = gradient + size_t(i) * width;
    for (int j = 0; j < q; ++j) {
      rows[taps.first[j]] += taps.low[j] * in[j];
      rows[taps.second[j]] += taps.high[j] * in[j];
    }
    T *a = x + taps.first[i] * p, *b = x + taps.second[i] * p;
    const T low = taps.low[i], high = taps.high[i];
    for (int k = 0; k < p; ++k) a[k] += low * rows[k];
    for (int k = 0; k < p; ++k) b[k] += high * rows[k];
  }
}

// I + K of every step, rows padded; transposed where `transpose`.
template <typename T>
void pad_matrices(const T *matrices, int steps, int q, int width, bool transpose, T *out) {
  for (int l = 0; l < steps; ++l)
    for (int i = 0; i < q; ++i)
      for (int j = 0; j < q; ++j) {
        T value = matrices[(size_t(l) * q + i) * q + j] + (i == j ? T(1) : T(0));
        out[(size_t(l) * q + (transpose ? j : i)) * width + (transpose ? i : j)] = value;
      }
}

template <typename T, int NV> struct Kernel {
  typedef typename Vector<T>::type Vec;
  static constexpr int LANES = Vector<T>::LANES;
  static constexpr int width = NV * LANES;
  static constexpr int ROWS = std::max(1, std::min(8, ACCUMULATORS / NV));

  static const Vec *vec(const T *at) { return reinterpret_cast<const Vec *>(at); }
  static Vec *vec(T *at) { return reinterpret_cast<Vec *>(at); }
  static Vec relu6(Vec z) {
    const Vec zero = Vec{}, six = zero + T(6);
    z = z > zero ? z : zero;
    return z < six ? z : six;
  }
  static T sum(Vec v) {
    T total = 0;
    for (int i = 0; i < LANES; ++i) total += v[i];
    return total;
  }

  // acc[r] = row r of y times the matrix, for R rows.
  template <int R> static inline __attribute__((always_inline)) void rows_times(const T *y, const T *matrix, int q,
                                                                              Vec (&acc)[R][NV]) {
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) acc[r][v] = Vec{};
    for (int k = 0; k < q; ++k) {
      const Vec *m = vec(matrix + size_t(k) * width);
      for (int r = 0; r < R; ++r) {
        const T factor = y[r * width + k];
        for (int v = 0; v < NV; ++v) acc[r][v] += factor * m[v];
      }
    }
  }

  // All steps of R rows in place. scale and shift: of each row and lane (stride 1 row), or of all (uniform).
  template <int R> static inline __attribute__((always_inline)) void relax_rows(
      T *y, const T *matrices, const T *dt, int steps, int q, bool uniform, const T *scale, const T *shift) {
    for (int l = 0; l < steps; ++l) {
      Vec acc[R][NV];
      rows_times<R>(y, matrices + size_t(l) * q * width, q, acc);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) {
          Vec &state = vec(y + r * width)[v];
          const Vec z = uniform ? acc[r][v] * *scale + *shift
                                : acc[r][v] * vec(scale + r * width)[v] + vec(shift + r * width)[v];
          state += dt[l] * (relu6(z) - state);
        }
    }
  }

  static void relax(T *y, const T *matrices, const T *dt, int steps, int q, bool uniform, const T *scale,
                    const T *shift) {
    const int skip = uniform ? 0 : width;
    int i = 0;
    for (; i + ROWS <= q; i += ROWS)
      relax_rows<ROWS>(y + i * width, matrices, dt, steps, q, uniform, scale + i * skip, shift + i * skip);
    for (; i < q; ++i)
      relax_rows<1>(y + i * width, matrices, dt, steps, q, uniform, scale + i * skip, shift + i * skip);
  }

  // z = y times the matrix, for any number of rows.
  static void product(const T *y, const T *matrix, int q, int64_t count, T *z) {
    int64_t i = 0;
    for (; i + ROWS <= count; i += ROWS) product_rows<ROWS>(y + i * width, matrix, q, z + i * width);
    for (; i < count; ++i) product_rows<1>(y + i * width, matrix, q, z + i * width);
  }
  template <int R> static inline __attribute__((always_inline)) void product_rows(const T *y, const T *matrix, int q,
                                                                                T *z) {
    Vec acc[R][NV];
    rows_times<R>(y, matrix, q, acc);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) vec(z + r * width)[v] = acc[r][v];
  }

  // sum of outer products: out[k] += y[n][k] * g[n], over `count` rows n.
  static void outer(const T *y, const T *g, int q, int64_t count, T *out) {
    int k = 0;
    for (; k + ROWS <= q; k += ROWS) outer_rows<ROWS>(y + k, g, count, out + size_t(k) * width);
    for (; k < q; ++k) outer_rows<1>(y + k, g, count, out + size_t(k) * width);
  }
  template <int R> static inline __attribute__((always_inline)) void outer_rows(const T *y, const T *g, int64_t count,
                                                                              T *out) {
    Vec acc[R][NV];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) acc[r][v] = Vec{};
    for (int64_t n = 0; n < count; ++n) {
      const Vec *row = vec(g + n * width);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) acc[r][v] += y[n * width + r] * row[v];
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) vec(out + r * width)[v] += acc[r][v];
  }

  static void infer(const T *x, int64_t batch, int64_t positions, const Taps<T> &taps, const T *matrices, const T *dt,
                    int steps, bool by_channel, const T *scale, const T *shift, T *out, int threads) {
    const int p = taps.size_in, q = taps.size_out;
    const size_t size = size_t(q) * width;
    Scratch<T> padded(steps * size), wide_scale(by_channel ? size : 0), wide_shift(by_channel ? size : 0);
    pad_matrices(matrices, steps, q, width, false, padded.get());
    if (by_channel)
      for (int i = 0; i < q; ++i) {
        std::memcpy(wide_scale.get() + size_t(i) * width, scale + size_t(i) * q, q * sizeof(T));
        std::memcpy(wide_shift.get() + size_t(i) * width, shift + size_t(i) * q, q * sizeof(T));
      }
#pragma omp parallel num_threads(threads)
    {
      Scratch<T> start(size), state(size), rows(p);
#pragma omp for schedule(static)
      for (int64_t n = 0; n < batch * positions; ++n) {
        T *y0 = start.get(), *y = state.get();
        load(x + n * p * p, taps, width, y0, rows.get());
        std::memcpy(y, y0, size * sizeof(T));
        const int64_t s = n % positions;
        relax(y, padded.get(), dt, steps, q, !by_channel, by_channel ? wide_scale.get() : scale + s,
              by_channel ? wide_shift.get() : shift + s);
        T *to = out + n * q * q;
        for (int i = 0; i < q; ++i) {
          const T *a = y + size_t(i) * width, *b = y0 + size_t(i) * width;
          for (int j = 0; j < q; ++j) to[i * q + j] = a[j] + b[j];
        }
      }
    }
  }

  // Mean and biased variance of the q used lanes of `count` rows.
  static void moments(const T *z, int q, int64_t count, T &mean, T &variance) {
    Vec total = Vec{};
    for (int64_t i = 0; i < count * NV; ++i) total += vec(z)[i];  // idle lanes of a product are zero
    mean = sum(total) / T(count * q);
    T used[width] __attribute__((aligned(64))) = {};
    std::fill(used, used + q, T(1));
    Vec squares = Vec{};
    for (int64_t n = 0; n < count; ++n)
      for (int v = 0; v < NV; ++v) {
        const Vec distance = (vec(z + n * width)[v] - mean) * vec(used)[v];
        squares += distance * distance;
      }
    variance = sum(squares) / T(count * q);
  }

  // Both passes of training, one position after the other over the whole batch. The trajectory of a position is
  // recomputed in the backward pass. means and variances are (steps, positions): outputs of the forward pass where
  // `batch_statistics`, else inputs of one row for all steps.
  static void forward(const T *x, int64_t batch, int64_t positions, const Taps<T> &taps, const T *matrices,
                      const T *dt, int steps, const T *weight, const T *bias, T eps, T *means, T *variances, T *out,
                      int threads) {
    const int p = taps.size_in, q = taps.size_out;
    const int64_t count = batch * q;
    Scratch<T> padded(size_t(steps) * q * width);
    pad_matrices(matrices, steps, q, width, false, padded.get());
#pragma omp parallel num_threads(threads)
    {
      Scratch<T> start(count * width), state(count * width), drive(count * width), rows(p);
      T *y0 = start.get(), *y = state.get(), *z = drive.get();
#pragma omp for schedule(static)
      for (int64_t s = 0; s < positions; ++s) {
        for (int64_t b = 0; b < batch; ++b)
          load(x + (b * positions + s) * p * p, taps, width, y0 + b * q * width, rows.get());
        std::memcpy(y, y0, count * width * sizeof(T));
        for (int l = 0; l < steps; ++l) {
          T &mean = means[l * positions + s], &variance = variances[l * positions + s];
          product(y, padded.get() + size_t(l) * q * width, q, count, z);
          moments(z, q, count, mean, variance);
          advance(y, z, count, dt[l], weight[s] / std::sqrt(variance + eps), mean, bias[s]);
        }
        for (int64_t b = 0; b < batch; ++b)
          for (int i = 0; i < q; ++i) {
            const size_t row = (b * q + i) * width;
            T *to = out + (b * positions + s) * q * q + i * q;
            for (int j = 0; j < q; ++j) to[j] = y[row + j] + y0[row + j];
          }
      }
    }
  }

  static void advance(T *y, const T *z, int64_t count, T dt, T scale, T mean, T bias) {
    for (int64_t i = 0; i < count * NV; ++i) vec(y)[i] += dt * (relu6((vec(z)[i] - mean) * scale + bias) - vec(y)[i]);
  }

  static void backward(const T *grad, const T *x, int64_t batch, int64_t positions, const Taps<T> &taps,
                       const T *matrices, const T *dt, int steps, const T *weight, const T *bias, T eps,
                       bool batch_statistics, const T *means, const T *variances, T *grad_x, T *grad_matrices,
                       T *grad_dt, T *grad_weight, T *grad_bias, int threads) {
    const int p = taps.size_in, q = taps.size_out;
    const int64_t count = batch * q, stride = batch_statistics ? positions : 0;
    const size_t size = size_t(q) * width;
    Scratch<T> padded(steps * size), transposed(steps * size);
    pad_matrices(matrices, steps, q, width, false, padded.get());
    pad_matrices(matrices, steps, q, width, true, transposed.get());
    // Each thread sums its positions in order, and the threads are summed in order: the same bits every time.
    Scratch<T> all_matrices(threads * steps * size);
    Scratch<double> all_dt(size_t(threads) * steps);
#pragma omp parallel num_threads(threads)
    {
#ifdef _OPENMP
      const int thread = omp_get_thread_num();
#else
      const int thread = 0;
#endif
      T *my_matrices = all_matrices.get() + thread * steps * size;
      double *my_dt = all_dt.get() + size_t(thread) * steps;
      Scratch<T> states(count * width * steps), drives(count * width * steps), gradient(count * width),
          inner(count * width), through(count * width), rows(p);
      T *g = gradient.get(), *ga = inner.get(), *gy = through.get();
#pragma omp for schedule(static)
      for (int64_t s = 0; s < positions; ++s) {
        for (int64_t b = 0; b < batch; ++b) {
          load(x + (b * positions + s) * p * p, taps, width, states.get() + b * size, rows.get());
          const T *from = grad + (b * positions + s) * q * q;
          for (int i = 0; i < q; ++i) std::memcpy(g + b * size + size_t(i) * width, from + i * q, q * sizeof(T));
        }
        for (int l = 0; l < steps; ++l) {
          T *y = states.get() + l * count * width, *z = drives.get() + l * count * width;
          product(y, padded.get() + l * size, q, count, z);
          if (l + 1 == steps) break;
          std::memcpy(y + count * width, y, count * width * sizeof(T));
          advance(y + count * width, z, count, dt[l], weight[s] / std::sqrt(variances[l * stride + s] + eps),
                  means[l * stride + s], bias[s]);
        }
        T weight_sum = 0, bias_sum = 0;
        for (int l = steps - 1; l >= 0; --l) {
          const T *y = states.get() + l * count * width, *z = drives.get() + l * count * width;
          const T mean = means[l * stride + s], inverse = 1 / std::sqrt(variances[l * stride + s] + eps);
          const Vec zero = Vec{}, six = zero + T(6);
          Vec dt_total = Vec{}, total = Vec{}, product_total = Vec{};
          for (int64_t i = 0; i < count * NV; ++i) {
            const Vec normed = (vec(z)[i] - mean) * inverse, drive = normed * weight[s] + bias[s];
            dt_total += vec(g)[i] * (relu6(drive) - vec(y)[i]);
            const Vec passed = (drive > zero) & (drive < six) ? vec(g)[i] * dt[l] : zero;
            vec(ga)[i] = passed;
            total += passed;
            product_total += passed * normed;
          }
          const T shift_sum = sum(total), scale_sum = sum(product_total);
          my_dt[l] += sum(dt_total);
          bias_sum += shift_sum;
          weight_sum += scale_sum;
          const T factor = weight[s] * inverse, all = T(count * q);
          const T mean_of = batch_statistics ? shift_sum / all : 0, slope = batch_statistics ? scale_sum / all : 0;
          for (int64_t i = 0; i < count * NV; ++i)
            vec(ga)[i] = factor * (vec(ga)[i] - mean_of - (vec(z)[i] - mean) * inverse * slope);
          outer(y, ga, q, count, my_matrices + l * size);
          product(ga, transposed.get() + l * size, q, count, gy);
          for (int64_t i = 0; i < count * NV; ++i) vec(g)[i] += vec(gy)[i] - dt[l] * vec(g)[i];
        }
        grad_weight[s] = weight_sum;
        grad_bias[s] = bias_sum;
        for (int64_t b = 0; b < batch; ++b) {
          const T *from = grad + (b * positions + s) * q * q;
          T *to = g + b * size;
          for (int i = 0; i < q; ++i)
            for (int j = 0; j < q; ++j) to[size_t(i) * width + j] += from[i * q + j];
          unload(to, taps, width, grad_x + (b * positions + s) * p * p, rows.get());
        }
      }
    }
    for (int l = 0; l < steps; ++l) {
      double total = 0;
      for (int t = 0; t < threads; ++t) total += all_dt.get()[size_t(t) * steps + l];
      grad_dt[l] = T(total);
      for (int i = 0; i < q; ++i)
        for (int j = 0; j < q; ++j) {
          T sum = 0;
          for (int t = 0; t < threads; ++t) sum += all_matrices.get()[(t * steps + l) * size + size_t(i) * width + j];
          grad_matrices[(size_t(l) * q + i) * q + j] = sum;
        }
    }
  }
};

// Calls `call(Kernel)` for the number of vectors that hold q.
template <typename T, int NV = 1, typename Call> void dispatch(int q, Call call) {
  if (q <= NV * Vector<T>::LANES) {
    call(Kernel<T, NV>());
  } else if constexpr (NV * Vector<T>::LANES < 64) {
    dispatch<T, NV + 1>(q, call);
  }
}

}  // namespace

#define COS_FUNCTIONS(T, NAME)                                                                                        \
  extern "C" void cos_infer_##NAME(const T *x, int64_t batch, int64_t positions, int p, int q, const T *matrices,     \
                                   const T *dt, int steps, int by_channel, const T *scale, const T *shift, T *out,    \
                                   int threads) {                                                                     \
    Taps<T> taps(p, q);                                                                                               \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      kernel.infer(x, batch, positions, taps, matrices, dt, steps, by_channel, scale, shift, out, threads);           \
    });                                                                                                               \
  }                                                                                                                   \
  extern "C" void cos_forward_##NAME(const T *x, int64_t batch, int64_t positions, int p, int q, const T *matrices,   \
                                     const T *dt, int steps, const T *weight, const T *bias, double eps, T *means,    \
                                     T *variances, T *out, int threads) {                                             \
    Taps<T> taps(p, q);                                                                                               \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      kernel.forward(x, batch, positions, taps, matrices, dt, steps, weight, bias, T(eps), means, variances, out,     \
                     threads);                                                                                        \
    });                                                                                                               \
  }                                                                                                                   \
  extern "C" void cos_backward_##NAME(const T *grad, const T *x, int64_t batch, int64_t positions, int p, int q,      \
                                      const T *matrices, const T *dt, int steps, const T *weight, const T *bias,      \
                                      double eps, int batch_statistics, const T *means, const T *variances,           \
                                      T *grad_x, T *grad_matrices, T *grad_dt, T *grad_weight, T *grad_bias,          \
                                      int threads) {                                                                  \
    Taps<T> taps(p, q);                                                                                               \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      kernel.backward(grad, x, batch, positions, taps, matrices, dt, steps, weight, bias, T(eps), batch_statistics,   \
                      means, variances, grad_x, grad_matrices, grad_dt, grad_weight, grad_bias, threads);             \
    });                                                                                                               \
  }

COS_FUNCTIONS(float, float32)
COS_FUNCTIONS(double, float64)
