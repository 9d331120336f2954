// The channelwise ODE solver for CPUs: all Euler steps of a position while its channels are in the innermost cache.
//
// Tensors are dense: x and y are (batch, positions, p*p) and (batch, positions, q*q), a position's matrix by rows; the
// matrices K are (steps, q, q). cos_naive in naive.py is the same arithmetic, written plainly.
//
// A row of q channels is held as `width` = NV * LANES numbers, the last ones idle: they are never read as inputs of a
// product, and sums leave them out.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#ifdef __AVX2__  // AVX-512 has it too
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

// Blocks of rows have to end up in their loops, or their accumulators leave the registers.
#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
// What several passes share is compiled once.
#define NOINLINE __attribute__((noinline))

namespace {

// As wide as the registers: a compiler that has to split a vector makes slow code of it. ACCUMULATORS are the sums that
// a block of rows keeps in registers; 24 of the 32 would fit there too, and are slower at q = 24.
#ifdef __AVX512F__
constexpr int VECTOR_BYTES = 64, ACCUMULATORS = 16;
#else
constexpr int VECTOR_BYTES = 32, ACCUMULATORS = 12;
#endif

// Multiply-adds under which one thread does all: starting others takes longer.
constexpr int64_t LEAST_WORK_PER_THREAD = 200000;

// Of at most `most` threads, those that the steps of all positions are worth.
inline int threads_for(int64_t batch, int64_t positions, int q, int steps, int most) {
  const int64_t work = batch * positions * steps * q * q * q / LEAST_WORK_PER_THREAD;
  return int(std::max<int64_t>(1, std::min({int64_t(most), positions, work})));
}

inline int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

template <typename T> struct Vector {
  typedef T type __attribute__((vector_size(VECTOR_BYTES), may_alias));
  typedef T unaligned __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(T))));
  static constexpr int LANES = VECTOR_BYTES / sizeof(T);
};

template <typename T> class Scratch {
 public:
  explicit Scratch(size_t count, bool zeros = true)
      : data_(static_cast<T *>(::operator new(std::max<size_t>(count, 1) * sizeof(T), std::align_val_t(64)))) {
    if (zeros) std::fill(data_, data_ + count, T(0));
  }
  ~Scratch() { ::operator delete(data_, std::align_val_t(64)); }
  Scratch(const Scratch &) = delete;
  T *get() const { return data_; }

 private:
  T *data_;
};

// Numbers of `side` in whole vectors.
template <typename T> int padded(int side) {
  return (side + Vector<T>::LANES - 1) / Vector<T>::LANES * Vector<T>::LANES;
}

template <typename T> const typename Vector<T>::type *vec(const T *at) {
  return reinterpret_cast<const typename Vector<T>::type *>(at);
}
template <typename T> typename Vector<T>::type *vec(T *at) {
  return reinterpret_cast<typename Vector<T>::type *>(at);
}

// Lane by lane; b where one of them is not a number.
#ifdef __AVX512F__
// GCC makes a comparison and a blend of the plain form in vectors of 512 bits.
inline __m512 larger(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
inline __m512 smaller(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
inline __m512d larger(__m512d a, __m512d b) { return _mm512_max_pd(a, b); }
inline __m512d smaller(__m512d a, __m512d b) { return _mm512_min_pd(a, b); }
#else
template <typename Vec> Vec larger(Vec a, Vec b) { return a > b ? a : b; }
template <typename Vec> Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
#endif

// Lane i is lane index[i] of a and b, one behind the other.
#ifdef __AVX512F__
inline __m512 pick(__m512 a, __m512 b, const int32_t *index) {
  return _mm512_permutex2var_ps(a, _mm512_load_si512(index), b);
}
inline __m512d pick(__m512d a, __m512d b, const int64_t *index) {
  return _mm512_permutex2var_pd(a, _mm512_load_si512(index), b);
}
#endif

// The first `count` numbers of a vector, 1 to all, from and to memory; the lanes beyond become zero and are not written.
#ifdef __AVX512F__
inline __m512 load_first(const float *at, int count) { return _mm512_maskz_loadu_ps((1u << count) - 1, at); }
inline __m512d load_first(const double *at, int count) { return _mm512_maskz_loadu_pd((1u << count) - 1, at); }
inline void store_first(float *at, __m512 value, int count) { _mm512_mask_storeu_ps(at, (1u << count) - 1, value); }
inline void store_first(double *at, __m512d value, int count) { _mm512_mask_storeu_pd(at, (1u << count) - 1, value); }
#elif defined(__AVX2__)
inline __m256i first_lanes(int bytes) {
  static const int64_t on_and_off[8] = {-1, -1, -1, -1};
  const char *middle = reinterpret_cast<const char *>(on_and_off + 4);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(middle - bytes));
}
inline __m256 load_first(const float *at, int count) { return _mm256_maskload_ps(at, first_lanes(4 * count)); }
inline __m256d load_first(const double *at, int count) { return _mm256_maskload_pd(at, first_lanes(8 * count)); }
inline void store_first(float *at, __m256 value, int count) { _mm256_maskstore_ps(at, first_lanes(4 * count), value); }
inline void store_first(double *at, __m256d value, int count) { _mm256_maskstore_pd(at, first_lanes(8 * count), value); }
#else
template <typename T> INLINE typename Vector<T>::type load_first(const T *at, int count) {
  typename Vector<T>::type value = {};
  for (int i = 0; i < count; ++i) value[i] = at[i];
  return value;
}
template <typename T> INLINE void store_first(T *at, typename Vector<T>::type value, int count) {
  for (int i = 0; i < count; ++i) at[i] = value[i];
}
#endif

// Calls call(rows, i) for all blocks of rows i, i + 1, ... of `count`, where `rows` is a constant: MOST where that
// leaves no rest, else the powers of two below.
template <int ROWS, typename Call> INLINE void blocks_of(int64_t i, int64_t count, Call call) {
  for (; i + ROWS <= count; i += ROWS) call(std::integral_constant<int, ROWS>(), i);
  if constexpr (ROWS > 1) blocks_of<ROWS / 2>(i, count, call);
}
template <int MOST, typename Call> INLINE void in_blocks(int64_t count, Call call) {
  constexpr int POWER = MOST >= 8 ? 8 : MOST >= 4 ? 4 : MOST >= 2 ? 2 : 1;
  if (MOST > POWER && count % MOST == 0) {
    for (int64_t i = 0; i < count; i += MOST) call(std::integral_constant<int, MOST>(), i);
  } else {
    blocks_of<POWER>(0, count, call);
  }
}

// side*side numbers to rows of whole vectors, idle lanes zero.
template <typename T> INLINE void unpack(const T *from, int side, T *rows) {
  typedef typename Vector<T>::unaligned Unaligned;
  constexpr int LANES = Vector<T>::LANES;
  const int vectors = padded<T>(side) / LANES, last = side - (vectors - 1) * LANES;
  auto *to = vec(rows);
  for (int i = 0; i < side; ++i) {
    for (int v = 0; v + 1 < vectors; ++v, from += LANES) *to++ = *reinterpret_cast<const Unaligned *>(from);
    *to++ = load_first(from, last);
    from += last;
  }
}

// Rows of whole vectors, get(i) being the i-th vector of all, to side*side numbers.
template <typename T, typename Get> INLINE void pack(int side, T *out, Get get) {
  typedef typename Vector<T>::unaligned Unaligned;
  constexpr int LANES = Vector<T>::LANES;
  const int vectors = padded<T>(side) / LANES, last = side - (vectors - 1) * LANES;
  for (int i = 0, n = 0; i < side; ++i) {
    for (int v = 0; v + 1 < vectors; ++v, out += LANES) *reinterpret_cast<Unaligned *>(out) = get(n++);
    store_first(out, get(n++), last);
    out += last;
  }
}

// Fetches into the cache what is read next, or written, so that neither waits for memory.
template <bool WRITES, typename T> INLINE void prefetch(const T *at, int count) {
  for (int i = 0; i < count; i += Vector<T>::LANES) __builtin_prefetch(at + i, WRITES);
}

// Rows times a (size_in, size_out) matrix whose columns have few entries, near to each other.
template <typename T> class Columns {
 public:
  Columns(int size_in, int size_out)
      : size_in_(size_in), width_(padded<T>(size_out)), matrix_(size_t(size_in) * width_),
        begin_(width_ / Vector<T>::LANES, size_in), end_(width_ / Vector<T>::LANES, 0) {}

  void add(int from, int to, T value) {
    matrix_.get()[from * width_ + to] += value;
    const int v = to / Vector<T>::LANES;
    begin_[v] = std::min(begin_[v], from);
    end_[v] = std::max(end_[v], from + 1);
  }

  // After the last add().
  void settle() {
#ifdef __AVX512F__
    constexpr int LANES = Vector<T>::LANES;
    int widest = 0, most = 0;
    for (size_t v = 0; v < begin_.size(); ++v) widest = std::max(widest, end_[v] - begin_[v]);
    std::vector<int> count(width_);
    for (int to = 0; to < width_; ++to) {
      for (int from = begin_[to / LANES]; from < end_[to / LANES]; ++from)
        count[to] += matrix_.get()[from * width_ + to] != 0;
      most = std::max(most, count[to]);
    }
    // Two vectors have to hold what one takes; and a few multiply-adds are done sooner than the picking.
    if (widest > 2 * LANES || widest < 6 * most || most > MOST_PICKED) return;
    picked_ = most;
    for (int to = 0; to < width_; ++to) {
      size_t at = size_t(to / LANES) * picked_ * LANES + to % LANES;
      for (int from = begin_[to / LANES]; from < end_[to / LANES]; ++from)
        if (const T value = matrix_.get()[from * width_ + to]; value != 0) {
          index_.get()[at] = from - begin_[to / LANES];
          weight_.get()[at] = value;
          at += LANES;
        }
    }
#endif
  }

  // x: rows of `stride` numbers. out: rows of whole vectors.
  void apply(const T *x, int stride, int rows, T *out) const {
    typedef typename Vector<T>::type Vec;
    const int vectors = width_ / Vector<T>::LANES;
#ifdef __AVX512F__
    if (picked_) return pick_out(x, stride, rows, out);
#endif
    for (int v = 0; v < vectors; ++v)
      in_blocks<std::min(12, ACCUMULATORS)>(rows, [&](auto block, int64_t i) INLINE_LAMBDA {
        constexpr int R = decltype(block)::value;
        Vec acc[R] = {};
        for (int k = begin_[v]; k < end_[v]; ++k) {
          const Vec m = vec(matrix_.get() + k * width_)[v];
          for (int r = 0; r < R; ++r) acc[r] += x[(i + r) * stride + k] * m;
        }
        for (int r = 0; r < R; ++r) vec(out + (i + r) * width_)[v] = acc[r];
      });
  }

 private:
#ifdef __AVX512F__
  NOINLINE void pick_out(const T *x, int stride, int rows, T *out) const {
    typedef typename Vector<T>::type Vec;
    constexpr int LANES = Vector<T>::LANES;
    for (size_t v = 0; v < begin_.size(); ++v) {
      const int begin = begin_[v], first = std::min(end_[v] - begin, LANES), second = end_[v] - begin - LANES;
      const size_t at = v * picked_ * LANES;
      for (int r = 0; r < rows; ++r) {
        const T *from = x + r * stride + begin;
        const Vec a = load_first(from, first), b = second > 0 ? Vec(load_first(from + LANES, second)) : a;
        Vec sum = Vec{};
        for (int t = 0; t < picked_; ++t)
          sum += vec(weight_.get() + at)[t] * Vec(pick(a, b, index_.get() + at + t * LANES));
        vec(out + r * width_)[v] = sum;
      }
    }
  }
#endif

  int size_in_, width_;
  Scratch<T> matrix_;
  std::vector<int> begin_, end_;  // of each vector of outputs: the inputs that it takes
#ifdef __AVX512F__
  // Inputs and weights of each output, one after the other, where they are few and near enough to be picked out of two
  // vectors; picked_ is their number, or 0.
  static constexpr int MOST_PICKED = 6;
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index;
  int picked_ = 0;
  Scratch<Index> index_{size_t(width_) * MOST_PICKED};
  Scratch<T> weight_{size_t(width_) * MOST_PICKED};
#endif
};

// Bilinear resampling of both axes of a position's matrix, p*p to q*q, and its transpose. The rows of an axis are
// value[i] = low[i] * v[first[i]] + high[i] * v[second[i]].
template <typename T> class Resampling {
 public:
  const int p, q;

  Resampling(int p, int q, bool with_transpose = false) : p(p), q(q), columns_(p, q), columns_back_(q, p) {
    for (int i = 0; i < q; ++i) {
      const double at = std::max((i + 0.5) * (double(p) / q) - 0.5, 0.0);
      const int floor = std::min(int(at), p - 1);
      first_.push_back(floor);
      second_.push_back(std::min(floor + 1, p - 1));
      low_.push_back(T(1 - (at - floor)));
      high_.push_back(T(at - floor));
      columns_.add(first_[i], i, low_[i]), columns_.add(second_[i], i, high_[i]);
      columns_back_.add(i, first_[i], low_[i]), columns_back_.add(i, second_[i], high_[i]);
    }
    if (p != q) columns_.settle();
    if (p != q && with_transpose) columns_back_.settle();
  }

  // Numbers that load and unload need as scratch.
  size_t scratch() const { return 2 * size_t(std::max(p, q)) * padded<T>(std::max(p, q)); }

  // One position: p*p numbers to q rows of whole vectors. The axis that is resampled first is the one that leaves
  // less to do for the other.
  void load(const T *x, T *y, T *scratch) const {
    T *between = scratch + this->scratch() / 2;
    if (p == q) {
      unpack(x, p, y);
    } else if (p < q) {
      columns_.apply(x, p, p, between);
      mix_rows(between, padded<T>(q), y);  // a row's idle lanes with it
    } else {
      mix_rows(x, p, between);
      columns_.apply(between, padded<T>(p), q, y);
    }
  }

  // The transpose of load: gradients of q rows of whole vectors to p*p numbers.
  void unload(const T *gradient, T *x, T *scratch) const {
    T *between = scratch + this->scratch() / 2;
    const T *rows = scratch;
    if (p == q) {
      rows = gradient;
    } else if (p < q) {
      mix_rows_back(gradient, padded<T>(q), between);
      columns_back_.apply(between, padded<T>(q), p, scratch);
    } else {
      columns_back_.apply(gradient, padded<T>(q), q, between);
      mix_rows_back(between, padded<T>(p), scratch);
    }
    pack(p, x, [&](int n) { return vec(rows)[n]; });
  }

 private:
  // rows: of `size` numbers, one after the other. out: rows of whole vectors.
  void mix_rows(const T *rows, int size, T *out) const {
    typedef typename Vector<T>::unaligned Unaligned;
    constexpr int LANES = Vector<T>::LANES;
    const int vectors = padded<T>(size) / LANES, last = size - (vectors - 1) * LANES;
    for (int i = 0; i < q; ++i) {
      const T *a = rows + first_[i] * size, *b = rows + second_[i] * size;
      auto *to = vec(out) + i * vectors;
      for (int v = 0; v + 1 < vectors; ++v, a += LANES, b += LANES)
        to[v] = low_[i] * *reinterpret_cast<const Unaligned *>(a) + high_[i] * *reinterpret_cast<const Unaligned *>(b);
      to[vectors - 1] = low_[i] * load_first(a, last) + high_[i] * load_first(b, last);
    }
  }

  void mix_rows_back(const T *gradient, int width, T *out) const {
    const int vectors = width / Vector<T>::LANES;
    std::fill(out, out + p * width, T(0));
    for (int i = 0; i < q; ++i) {
      const auto *in = vec(gradient + i * width);
      auto *a = vec(out + first_[i] * width), *b = vec(out + second_[i] * width);
      for (int v = 0; v < vectors; ++v) a[v] += low_[i] * in[v];
      for (int v = 0; v < vectors; ++v) b[v] += high_[i] * in[v];
    }
  }

  std::vector<int> first_, second_;
  std::vector<T> low_, high_;
  Columns<T> columns_, columns_back_;
};

// I + K of every step, rows padded; transposed where `transpose`. `identity` is what is added to the diagonal.
template <typename T>
void pad_matrices(const T *matrices, int steps, int q, int width, bool transpose, T *out, T identity = 1) {
  for (int l = 0; l < steps; ++l)
    for (int i = 0; i < q; ++i)
      for (int j = 0; j < q; ++j) {
        T value = matrices[(size_t(l) * q + i) * q + j] + (i == j ? identity : T(0));
        out[(size_t(l) * q + (transpose ? j : i)) * width + (transpose ? i : j)] = value;
      }
}

template <typename T, int NV> struct Kernel {
  typedef typename Vector<T>::type Vec;
  static constexpr int LANES = Vector<T>::LANES;
  static constexpr int width = NV * LANES;
  static constexpr int ROWS = std::max(1, std::min(12, ACCUMULATORS / NV));

  static Vec relu6(Vec z) {
    const Vec zero = Vec{};
    return smaller(zero + T(6), larger(zero, z));
  }
  static T sum(Vec v) {
    T total = 0;
    for (int i = 0; i < LANES; ++i) total += v[i];
    return total;
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
    in_blocks<ROWS>(count, [&](auto block, int64_t i) INLINE_LAMBDA {
      times<decltype(block)::value>(y + i * width, matrix, q, [&](int r, int v, Vec z) INLINE_LAMBDA {
        store((i + r) * NV + v, z);
      });
    });
  }

  // z = y times the matrix, for `count` rows.
  static NOINLINE void multiply(const T *y, const T *matrix, int q, int64_t count, T *z) {
    product(y, matrix, q, count, [=](int64_t i, Vec v) INLINE_LAMBDA { vec(z)[i] = v; });
  }

  // The gradient of the state before a step, from that of the state after it and from that of the drive, whose matrix
  // is given transposed.
  static NOINLINE void retreat(const T *after, const T *of_drive, const T *transposed, T step, int q, int64_t count,
                               T *before) {
    product(of_drive, transposed, q, count, [=](int64_t i, Vec v) INLINE_LAMBDA {
      vec(before)[i] = vec(after)[i] * (1 - step) + v;
    });
  }

  // Sum of outer products: out[k] += y[n][k] * g[n], over `count` rows n.
  static NOINLINE void outer(const T *y, const T *g, int q, int64_t count, T *out) {
    in_blocks<ROWS>(q, [&](auto block, int64_t k) INLINE_LAMBDA {
      constexpr int R = decltype(block)::value;
      Vec acc[R][NV] = {};
      for (int64_t n = 0; n < count; ++n) {
        const Vec *row = vec(g + n * width);
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) acc[r][v] += y[n * width + k + r] * row[v];
      }
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) vec(out + (k + r) * width)[v] += acc[r][v];
    });
  }

  // All steps from the start y0. affine_at(l)(i, z) is dt[l] times the norm of z, the i-th vector of a position.
  template <typename AffineAt> static INLINE void relax(const T *y0, T *y, const T *matrices, const T *dt, int steps,
                                                        int q, AffineAt affine_at) {
    // Steps outside: blocks that follow each other do not wait for each other.
    const T *from = y0;
    for (int l = 0; l < steps; ++l, from = y) {
      // dt * relu6(z) is the clamp of dt * z, as no step goes back: an operation less.
      const Vec zero = Vec{}, most = zero + T(6) * dt[l], stays = zero + (1 - dt[l]);
      const auto affine = affine_at(l);
      in_blocks<ROWS>(q, [&](auto block, int64_t i) INLINE_LAMBDA {
        const Vec *before = vec(from + i * width);
        Vec *after = vec(y + i * width);
        const T *matrix = matrices + l * q * width;
        times<decltype(block)::value>(from + i * width, matrix, q, [&](int r, int v, Vec z) INLINE_LAMBDA {
          const Vec drive = affine((i + r) * NV + v, z);
          after[r * NV + v] = before[r * NV + v] * stays + smaller(most, larger(zero, drive));
        });
      });
    }
  }

  // All of the solver for `count` positions: affine_of(n) is that of position n as relax() takes it. Where
  // after_scale is given, out is relu6(y * after_scale + after_shift) by channel, plus the residual where there is one.
  template <typename AffineOf>
  static INLINE void solve(const T *x, int64_t count, const Resampling<T> &resampling, const T *matrices, const T *dt,
                           int steps, const T *after_scale, const T *after_shift, const T *residual, T *out,
                           int threads, AffineOf affine_of) {
    const int p = resampling.p, q = resampling.q;
    const size_t size = size_t(q) * width;
    Scratch<T> wide_scale(after_scale ? size : 0), wide_shift(after_scale ? size : 0);
    if (after_scale) {
      unpack(after_scale, q, wide_scale.get());
      unpack(after_shift, q, wide_shift.get());
    }
    const Vec *a = vec(wide_scale.get()), *b = vec(wide_shift.get());
#pragma omp parallel num_threads(threads)
    {
      Scratch<T> start(size), state(size), scratch(resampling.scratch());
      T *loaded = start.get(), *y = state.get();
      // Rows of whole vectors, which are resampled to none, are read where they are.
      const bool as_they_are = p == q && q == width && reinterpret_cast<uintptr_t>(x) % VECTOR_BYTES == 0;
#pragma omp for schedule(static) nowait
      for (int64_t n = 0; n < count; ++n) {
        prefetch<true>(out + (n + 1) * q * q, q * q);
        if (p <= q) prefetch<false>(x + (n + 1) * p * p, p * p);  // the larger ones stream in well enough
        const T *y0 = x + n * p * p;
        if (!as_they_are) {
          resampling.load(y0, loaded, scratch.get());
          y0 = loaded;
        }
        relax(y0, y, matrices, dt, steps, q, affine_of(n));
        if (after_scale) {
          for (int i = 0; i < q * NV; ++i) vec(y)[i] = relu6((vec(y)[i] + vec(y0)[i]) * a[i] + b[i]);
          if (residual)
            unpack(residual + n * q * q, q, loaded);
          else
            std::fill(loaded, loaded + size, T(0));
          y0 = loaded;
        }
        pack(q, out + n * q * q, [=](int i) INLINE_LAMBDA { return vec(y)[i] + vec(y0)[i]; });
      }
    }
  }

  // means and variances are null where weight and bias are scale and shift. The matrices are I + K where `transitions`.
  static void infer(const T *x, int64_t batch, int64_t positions, const Resampling<T> &resampling, const T *matrices,
                    const T *dt, int steps, bool by_channel, const T *weight, const T *bias, const T *means,
                    const T *variances, T eps, T least_step, bool transitions, const T *after_scale,
                    const T *after_shift, const T *residual, T *out, int threads) {
    const int q = resampling.q;
    const size_t size = size_t(q) * width;
    Scratch<T> all_matrices(steps * size), lengths(steps);
    pad_matrices(matrices, steps, q, width, false, all_matrices.get(), transitions ? T(0) : T(1));
    T *step = lengths.get();
    for (int l = 0; l < steps; ++l) step[l] = dt[l] < least_step ? least_step : dt[l];
    const auto fold = [=](int64_t s, T &scale, T &shift) INLINE_LAMBDA {
      scale = means ? weight[s] / std::sqrt(variances[s] + eps) : weight[s];
      shift = means ? bias[s] - means[s] * scale : bias[s];
    };
    const auto solve_with = [&](auto affine_of) INLINE_LAMBDA {
      solve(x, batch * positions, resampling, all_matrices.get(), step, steps, after_scale, after_shift, residual, out,
            threads, affine_of);
    };
    if (by_channel) {
      Scratch<T> scale(size), shift(size);
      for (int channel = 0; channel < q * q; ++channel) {
        const int at = channel / q * width + channel % q;
        fold(channel, scale.get()[at], shift.get()[at]);
      }
      const Vec *a = vec(scale.get()), *b = vec(shift.get());
      solve_with([=](int64_t) INLINE_LAMBDA {
        return [=](int l) INLINE_LAMBDA {
          const T length = step[l];
          return [=](int64_t i, Vec z) INLINE_LAMBDA { return length * (z * a[i] + b[i]); };
        };
      });
    } else {
      solve_with([=](int64_t n) INLINE_LAMBDA {
        T scale, shift;
        fold(n % positions, scale, shift);
        return [=](int l) INLINE_LAMBDA {
          const Vec zero = Vec{}, a = zero + step[l] * scale, b = zero + step[l] * shift;
          return [=](int64_t, Vec z) INLINE_LAMBDA { return z * a + b; };
        };
      });
    }
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
    return sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
  }

  // Mean and biased variance of the q used lanes of `count` rows, of which the idle ones are zero.
  static void moments(const T *z, int q, int64_t count, T &mean, T &variance) {
    const T sum = total(count, [=](int64_t n, int v) INLINE_LAMBDA { return vec(z)[n * NV + v]; });
    const T middle = mean = sum / T(count * q);
    T used[width] __attribute__((aligned(VECTOR_BYTES))) = {};
    std::fill(used, used + q, T(1));
    const Vec *in_use = vec(used);
    variance = total(count, [=](int64_t n, int v) INLINE_LAMBDA {
      const Vec distance = (vec(z)[n * NV + v] - middle) * in_use[v];
      return distance * distance;
    }) / T(count * q);
  }

  static void advance(const T *y, const T *z, int64_t count, T dt, T scale, T mean, T bias, T *next) {
    for (int64_t i = 0; i < count * NV; ++i) {
      const Vec state = vec(y)[i];
      vec(next)[i] = state + dt * (relu6((vec(z)[i] - mean) * scale + bias) - state);
    }
  }

  // Both passes of training, one position after the other over the whole batch. The trajectory of a position is
  // recomputed in the backward pass. means and variances are (steps, positions): outputs of the forward pass where
  // `batch_statistics`, else inputs of one row for all steps.
  static void forward(const T *x, int64_t batch, int64_t positions, const Resampling<T> &resampling,
                      const T *matrices, const T *dt, int steps, const T *weight, const T *bias, T eps, T *means,
                      T *variances, T *out, int threads) {
    const int p = resampling.p, q = resampling.q;
    const int64_t count = batch * q;
    const size_t size = size_t(q) * width;
    Scratch<T> all_matrices(steps * size);
    pad_matrices(matrices, steps, q, width, false, all_matrices.get());
#pragma omp parallel num_threads(threads)
    {
      Scratch<T> start(count * width), state(count * width), drive(count * width), scratch(resampling.scratch());
      T *y0 = start.get(), *y = state.get(), *z = drive.get();
#pragma omp for schedule(static) nowait
      for (int64_t s = 0; s < positions; ++s) {
        for (int64_t b = 0; b < batch; ++b)
          resampling.load(x + (b * positions + s) * p * p, y0 + b * size, scratch.get());
        const T *from = y0;
        for (int l = 0; l < steps; ++l, from = y) {
          T &mean = means[l * positions + s], &variance = variances[l * positions + s];
          multiply(from, all_matrices.get() + l * size, q, count, z);
          moments(z, q, count, mean, variance);
          advance(from, z, count, dt[l], weight[s] / std::sqrt(variance + eps), mean, bias[s], y);
        }
        for (int64_t b = 0; b < batch; ++b) {
          const Vec *end = vec(y + b * size), *begin = vec(y0 + b * size);
          pack(q, out + (b * positions + s) * q * q, [=](int i) INLINE_LAMBDA { return end[i] + begin[i]; });
        }
      }
    }
  }

  static void backward(const T *grad, const T *x, int64_t batch, int64_t positions, const Resampling<T> &resampling,
                       const T *matrices, const T *dt, int steps, const T *weight, const T *bias, T eps,
                       bool batch_statistics, const T *means, const T *variances, T *grad_x, T *grad_matrices,
                       T *grad_dt, T *grad_weight, T *grad_bias, int threads) {
    const int p = resampling.p, q = resampling.q;
    const int64_t count = batch * q, stride = batch_statistics ? positions : 0;
    const size_t size = size_t(q) * width;
    Scratch<T> all_matrices(steps * size), transposed(steps * size);
    pad_matrices(matrices, steps, q, width, false, all_matrices.get());
    pad_matrices(matrices, steps, q, width, true, transposed.get());
    // Each thread sums its positions in order, and the threads are summed in order: the same bits every time.
    Scratch<T> sums_matrices(threads * steps * size);
    Scratch<double> sums_dt(size_t(threads) * steps);
#pragma omp parallel num_threads(threads)
    {
      const int thread = thread_number();
      T *my_matrices = sums_matrices.get() + thread * steps * size;
      double *my_dt = sums_dt.get() + size_t(thread) * steps;
      Scratch<T> states(count * width * steps), drives(count * width * steps), gradient(count * width),
          last(count * width), inner(count * width), scratch(resampling.scratch());
      T *g = gradient.get(), *g_last = last.get(), *ga = inner.get();
#pragma omp for schedule(static) nowait
      for (int64_t s = 0; s < positions; ++s) {
        for (int64_t b = 0; b < batch; ++b) {
          resampling.load(x + (b * positions + s) * p * p, states.get() + b * size, scratch.get());
          unpack(grad + (b * positions + s) * q * q, q, g_last + b * size);
        }
        for (int l = 0; l < steps; ++l) {
          const T *y = states.get() + l * count * width;
          T *z = drives.get() + l * count * width;
          multiply(y, all_matrices.get() + l * size, q, count, z);
          if (l + 1 < steps)
            advance(y, z, count, dt[l], weight[s] / std::sqrt(variances[l * stride + s] + eps),
                    means[l * stride + s], bias[s], states.get() + (l + 1) * count * width);
        }
        T weight_sum = 0, bias_sum = 0;
        for (int l = steps - 1; l >= 0; --l) {
          const T *y = states.get() + l * count * width, *z = drives.get() + l * count * width;
          const T *g_next = l + 1 == steps ? g_last : g;
          const T mean = means[l * stride + s], inverse = 1 / std::sqrt(variances[l * stride + s] + eps);
          const T step = dt[l], scale = weight[s], shift = bias[s];
          const Vec zero = Vec{}, six = zero + T(6);
          Vec dt_total = Vec{}, total = Vec{}, product_total = Vec{};
          for (int64_t i = 0; i < count * NV; ++i) {
            const Vec normed = (vec(z)[i] - mean) * inverse, drive = normed * scale + shift;
            const Vec coming = vec(g_next)[i];
            dt_total += coming * (relu6(drive) - vec(y)[i]);
            const Vec passed = (drive > zero) & (drive < six) ? coming * step : zero;
            vec(ga)[i] = passed;
            total += passed;
            product_total += passed * normed;
          }
          const T shift_sum = sum(total), scale_sum = sum(product_total);
          my_dt[l] += sum(dt_total);
          bias_sum += shift_sum;
          weight_sum += scale_sum;
          const T factor = scale * inverse, all = T(count * q);
          const T mean_of = batch_statistics ? shift_sum / all : 0, slope = batch_statistics ? scale_sum / all : 0;
          for (int64_t i = 0; i < count * NV; ++i)
            vec(ga)[i] = factor * (vec(ga)[i] - mean_of - (vec(z)[i] - mean) * inverse * slope);
          outer(y, ga, q, count, my_matrices + l * size);
          retreat(g_next, ga, transposed.get() + l * size, step, q, count, g);
        }
        grad_weight[s] = weight_sum;
        grad_bias[s] = bias_sum;
        for (int64_t i = 0; i < count * NV; ++i) vec(g)[i] += vec(g_last)[i];  // the start is added to the end
        for (int64_t b = 0; b < batch; ++b)
          resampling.unload(g + b * size, grad_x + (b * positions + s) * p * p, scratch.get());
      }
    }
    for (int l = 0; l < steps; ++l) {
      double total = 0;
      for (int t = 0; t < threads; ++t) total += sums_dt.get()[size_t(t) * steps + l];
      grad_dt[l] = T(total);
      for (int i = 0; i < q; ++i)
        for (int j = 0; j < q; ++j) {
          T sum = 0;
          for (int t = 0; t < threads; ++t) sum += sums_matrices.get()[(t * steps + l) * size + size_t(i) * width + j];
          grad_matrices[(size_t(l) * q + i) * q + j] = sum;
        }
    }
  }

  // Sums of `numbers` over `count` positions: add(n, work, sums) adds those of position n, with room for `work_size`
  // numbers. Short sums are made in T and summed in double, thread by thread in order: the same bits every time.
  template <typename Add>
  static void sum_over(int64_t count, size_t numbers, size_t work_size, int threads, double *out, Add add) {
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

  // The passes of training with a norm of channels, whose statistics are over all `count` positions of the batch. means
  // and variances are (steps, q*q), or of one row for all steps. A step has to know its statistics before it is taken,
  // so that there is a pass for each; between them the states before a step are kept, and its product is taken again.
  static void forward_by_channel(const T *x, int64_t count, const Resampling<T> &resampling, const T *matrices,
                                 const T *dt, int steps, const T *weight, const T *bias, T eps, T *means, T *variances,
                                 T *out, int threads) {
    const int p = resampling.p, q = resampling.q;
    const size_t size = size_t(q) * width, work_size = 2 * size + resampling.scratch();
    Scratch<T> all_matrices(steps * size), scale(size), shift(size), first(work_size);
    Scratch<double> totals(2 * size);
    pad_matrices(matrices, steps, q, width, false, all_matrices.get());
    // The state of position n before step l, of which `out` holds the one before.
    const auto state = [&](int l, int64_t n, T *y, T *z, T *scratch) {
      if (l < 2)
        resampling.load(x + n * p * p, y, scratch);
      else
        unpack(out + n * q * q, q, y);
      if (l == 0) return;
      multiply(y, all_matrices.get() + (l - 1) * size, q, q, z);
      const Vec *a = vec(scale.get()), *b = vec(shift.get());
      for (int64_t i = 0; i < q * NV; ++i) vec(y)[i] += dt[l - 1] * (relu6(vec(z)[i] * a[i] + b[i]) - vec(y)[i]);
    };
    for (int l = 0; l < steps; ++l) {
      const T *matrix = all_matrices.get() + l * size;
      // Distances from those of one position, so that squares of a large mean cancel nothing.
      T *origin = first.get() + size;
      state(l, 0, first.get(), origin, first.get() + 2 * size);
      multiply(first.get(), matrix, q, q, origin);
      sum_over(count, 2 * size, work_size, threads, totals.get(), [&](int64_t n, T *work, T *sums) {
        T *y = work, *z = work + size;
        state(l, n, y, z, work + 2 * size);
        if (l > 0) pack(q, out + n * q * q, [=](int i) INLINE_LAMBDA { return vec(y)[i]; });
        multiply(y, matrix, q, q, z);
        for (int64_t i = 0; i < q * NV; ++i) {
          const Vec distance = vec(z)[i] - vec(origin)[i];
          vec(sums)[i] += distance;
          vec(sums + size)[i] += distance * distance;
        }
      });
      for (int channel = 0; channel < q * q; ++channel) {
        const size_t i = size_t(channel / q) * width + channel % q;
        const double distance = totals.get()[i] / count;
        const double variance = std::max(totals.get()[size + i] / count - distance * distance, 0.0);
        const double mean = origin[i] + distance, factor = weight[channel] / std::sqrt(variance + eps);
        means[l * q * q + channel] = T(mean);
        variances[l * q * q + channel] = T(variance);
        scale.get()[i] = T(factor);
        shift.get()[i] = T(bias[channel] - mean * factor);
      }
    }
    sum_over(count, 0, work_size, threads, totals.get(), [&](int64_t n, T *work, T *) {
      T *y = work, *y0 = work + size;
      state(steps, n, y, y0, work + 2 * size);
      resampling.load(x + n * p * p, y0, work + 2 * size);
      pack(q, out + n * q * q, [=](int i) INLINE_LAMBDA { return vec(y)[i] + vec(y0)[i]; });
    });
  }

  static void backward_by_channel(const T *grad, const T *x, int64_t count, const Resampling<T> &resampling,
                                  const T *matrices, const T *dt, int steps, const T *weight, const T *bias, T eps,
                                  bool batch_statistics, const T *means, const T *variances, T *grad_x,
                                  T *grad_matrices, T *grad_dt, T *grad_weight, T *grad_bias, int threads) {
    const int p = resampling.p, q = resampling.q;
    const size_t size = size_t(q) * width;
    Scratch<T> all_matrices(steps * size), transposed(steps * size), wide_weight(size), wide_bias(size),
        wide_means(steps * size), inverses(steps * size), slope(size), passed_mean(size);
    pad_matrices(matrices, steps, q, width, false, all_matrices.get());
    pad_matrices(matrices, steps, q, width, true, transposed.get());
    unpack(weight, q, wide_weight.get());
    unpack(bias, q, wide_bias.get());
    for (int l = 0; l < steps; ++l) {
      const int row = batch_statistics ? l * q * q : 0;
      unpack(means + row, q, wide_means.get() + l * size);
      unpack(variances + row, q, inverses.get() + l * size);
      for (size_t i = l * size; i < (l + 1) * size; ++i) inverses.get()[i] = 1 / std::sqrt(inverses.get()[i] + eps);
    }
    const auto normed = [&](int l, int64_t i, const T *z) INLINE_LAMBDA {
      return (vec(z)[i] - vec(wide_means.get() + l * size)[i]) * vec(inverses.get() + l * size)[i];
    };
    const auto affine = [&](int64_t i, Vec value) INLINE_LAMBDA {
      return value * vec(wide_weight.get())[i] + vec(wide_bias.get())[i];
    };
    const Vec zero = Vec{}, six = zero + T(6);
    const auto passed = [&](int64_t i, Vec value, const T *g, T step) INLINE_LAMBDA {
      const Vec drive = affine(i, value);
      return (drive > zero) & (drive < six) ? vec(g)[i] * step : zero;
    };

    // The states before steps 1, 2, ..., and the gradient of the state after a step.
    Scratch<T> states((steps - 1) * count * q * q, false), gradient(count * q * q, false);
    const auto keep = [&](const T *rows, T *to) {
      pack(q, to, [=](int i) INLINE_LAMBDA { return vec(rows)[i]; });
    };
    const auto state = [&](int l, int64_t n, T *y, T *scratch) {
      if (l == 0)
        resampling.load(x + n * p * p, y, scratch);
      else
        unpack(states.get() + ((l - 1) * count + n) * q * q, q, y);
    };
    const size_t work_size = 4 * size + resampling.scratch();
    // Of the next step: weight and bias. Of this one: the matrix, and a vector for the step's length.
    const size_t at_bias = size, at_matrix = 2 * size, at_dt = 3 * size, numbers = at_dt + LANES;
    Scratch<double> totals(numbers), of_weight(2 * size);
    // Adds what step l, whose drive is z, gives to the gradients of weight and bias.
    const auto add_norm = [&](int l, const T *z, const T *g, T *sums) {
      for (int64_t i = 0; i < q * NV; ++i) {
        const Vec value = normed(l, i, z), through = passed(i, value, g, dt[l]);
        vec(sums)[i] += through * value;
        vec(sums + at_bias)[i] += through;
      }
    };
    sum_over(count, 2 * size, work_size, threads, totals.get(), [&](int64_t n, T *work, T *sums) {
      T *y = work, *z = y + size, *g = z + size;
      state(0, n, y, work + 4 * size);
      for (int l = 0;; ++l) {
        multiply(y, all_matrices.get() + l * size, q, q, z);
        if (l + 1 == steps) break;
        for (int64_t i = 0; i < q * NV; ++i)
          vec(y)[i] += dt[l] * (relu6(affine(i, normed(l, i, z))) - vec(y)[i]);
        keep(y, states.get() + (l * count + n) * q * q);
      }
      unpack(grad + n * q * q, q, g);
      add_norm(steps - 1, z, g, sums);
    });
    const auto take = [&](const double *from, T *to) {
      for (int i = 0; i < q; ++i)
        for (int j = 0; j < q; ++j) to[i * q + j] = T(from[size_t(i) * width + j]);
    };
    for (int l = steps - 1; l >= 0; --l) {
      for (size_t i = 0; i < 2 * size; ++i) of_weight.get()[i] += totals.get()[i];
      for (size_t i = 0; batch_statistics && i < size; ++i) {
        slope.get()[i] = T(totals.get()[i] / count);
        passed_mean.get()[i] = T(totals.get()[at_bias + i] / count);
      }
      const T *matrix = all_matrices.get() + l * size, *inverse = inverses.get() + l * size;
      sum_over(count, numbers, work_size, threads, totals.get(), [&](int64_t n, T *work, T *sums) {
        T *y = work, *z = y + size, *g = z + size, *ga = g + size, *scratch = ga + size;
        state(l, n, y, scratch);
        multiply(y, matrix, q, q, z);
        unpack((l + 1 == steps ? grad : gradient.get()) + n * q * q, q, g);
        for (int64_t i = 0; i < q * NV; ++i) {
          const Vec value = normed(l, i, z);
          vec(sums + at_dt)[0] += vec(g)[i] * (relu6(affine(i, value)) - vec(y)[i]);
          vec(ga)[i] = vec(wide_weight.get())[i] * vec(inverse)[i]
                       * (passed(i, value, g, dt[l]) - vec(passed_mean.get())[i] - value * vec(slope.get())[i]);
        }
        outer(y, ga, q, q, sums + at_matrix);
        retreat(g, ga, transposed.get() + l * size, dt[l], q, q, g);
        if (l > 0) {
          keep(g, gradient.get() + n * q * q);
          state(l - 1, n, y, scratch);
          multiply(y, matrix - size, q, q, z);
          add_norm(l - 1, z, g, sums);
        } else {
          unpack(grad + n * q * q, q, z);  // the start is added to the end
          for (int64_t i = 0; i < q * NV; ++i) vec(g)[i] += vec(z)[i];
          resampling.unload(g, grad_x + n * p * p, scratch);
        }
      });
      take(totals.get() + at_matrix, grad_matrices + size_t(l) * q * q);
      grad_dt[l] = 0;
      for (int i = 0; i < LANES; ++i) grad_dt[l] += T(totals.get()[at_dt + i]);
    }
    take(of_weight.get(), grad_weight);
    take(of_weight.get() + at_bias, grad_bias);
  }
};

// Calls `call(Kernel)` for the number of vectors that hold q, which is LARGEST_SIDE at most.
template <typename T, int NV = 1, typename Call> void dispatch(int q, Call call) {
  if (q <= NV * Vector<T>::LANES) {
    call(Kernel<T, NV>());
  } else if constexpr (NV * Vector<T>::LANES < LARGEST_SIDE) {
    dispatch<T, NV + 1>(q, call);
  }
}

}  // namespace

#define COS_FUNCTIONS(T, NAME)                                                                                        \
  void cos_infer_##NAME(const T *x, int64_t batch, int64_t positions, int p, int q, const T *matrices,                \
                        const T *dt, int steps, int by_channel, const T *weight, const T *bias,                       \
                        const T *means, const T *variances, double eps, double least_step,                            \
                        int transitions, const T *after_scale, const T *after_shift,                                  \
                        const T *residual, T *out, int threads) {                                                     \
    threads = threads_for(batch, positions, q, steps, threads);                                                       \
    Resampling<T> resampling(p, q);                                                                                   \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      kernel.infer(x, batch, positions, resampling, matrices, dt, steps, by_channel, weight, bias, means, variances,  \
                   T(eps), T(least_step), transitions, after_scale, after_shift, residual, out, threads);             \
    });                                                                                                               \
  }                                                                                                                   \
  extern "C" void cos_forward_##NAME(const T *x, int64_t batch, int64_t positions, int p, int q, const T *matrices,   \
                                     const T *dt, int steps, int by_channel, const T *weight, const T *bias,          \
                                     double eps, T *means, T *variances, T *out, int threads) {                       \
    threads = threads_for(batch, positions, q, steps, threads);                                                       \
    Resampling<T> resampling(p, q);                                                                                   \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      if (by_channel)                                                                                                 \
        kernel.forward_by_channel(x, batch * positions, resampling, matrices, dt, steps, weight, bias, T(eps), means, \
                                  variances, out, threads);                                                           \
      else                                                                                                            \
        kernel.forward(x, batch, positions, resampling, matrices, dt, steps, weight, bias, T(eps), means,             \
                       variances, out, threads);                                                                      \
    });                                                                                                               \
  }                                                                                                                   \
  extern "C" void cos_backward_##NAME(const T *grad, const T *x, int64_t batch, int64_t positions, int p, int q,      \
                                      const T *matrices, const T *dt, int steps, int by_channel, const T *weight,     \
                                      const T *bias, double eps, int batch_statistics, const T *means,                \
                                      const T *variances, T *grad_x, T *grad_matrices, T *grad_dt, T *grad_weight,    \
                                      T *grad_bias, int threads) {                                                    \
    threads = threads_for(batch, positions, q, steps, threads);                                                       \
    Resampling<T> resampling(p, q, true);                                                                             \
    dispatch<T>(q, [&](auto kernel) {                                                                                 \
      if (by_channel)                                                                                                 \
        kernel.backward_by_channel(grad, x, batch * positions, resampling, matrices, dt, steps, weight, bias, T(eps), \
                                   batch_statistics, means, variances, grad_x, grad_matrices, grad_dt, grad_weight,   \
                                   grad_bias, threads);                                                               \
      else                                                                                                            \
        kernel.backward(grad, x, batch, positions, resampling, matrices, dt, steps, weight, bias, T(eps),             \
                        batch_statistics, means, variances, grad_x, grad_matrices, grad_dt, grad_weight,              \
                        grad_bias, threads);                                                                          \
    });                                                                                                               \
  }

COS_FUNCTIONS(float, float32)
COS_FUNCTIONS(double, float64)
