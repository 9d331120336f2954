// Vectors of the processor, and rows of them.
//
// A row of `side` numbers is held as whole vectors, the last lanes idle: they are never read as inputs of a product, and
// sums leave them out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#ifdef __AVX2__  // AVX-512 has it too
#include <immintrin.h>
#endif

// Blocks of rows have to end up in their loops, or their accumulators leave the registers.
#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
// What several passes share is compiled once.
#define NOINLINE __attribute__((noinline))

namespace mobileode {

// As wide as the registers: a compiler that has to split a vector makes slow code of it (32 bytes with SSE2: ten times as
// slow and more). ACCUMULATORS are the sums that a block of rows keeps in registers; 24 of AVX-512's 32 would fit there
// too, and are slower at q = 24.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, ACCUMULATORS = 16;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, ACCUMULATORS = 12;
#else  // SSE2, NEON
constexpr int VECTOR_BYTES = 16, ACCUMULATORS = 12;
#endif

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

}  // namespace mobileode
