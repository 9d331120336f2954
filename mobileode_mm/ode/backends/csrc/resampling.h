// Bilinear resampling of a position's matrix, and its transpose.
#pragma once

#include "vectors.h"

#include <vector>

namespace mobileode {

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
  void finish() {
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
    if (p != q) columns_.finish();
    if (p != q && with_transpose) columns_back_.finish();
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
  void unload(const T *grad, T *x_grad, T *scratch) const {
    T *between = scratch + this->scratch() / 2;
    const T *rows = scratch;
    if (p == q) {
      rows = grad;
    } else if (p < q) {
      mix_rows_back(grad, padded<T>(q), between);
      columns_back_.apply(between, padded<T>(q), p, scratch);
    } else {
      columns_back_.apply(grad, padded<T>(q), q, between);
      mix_rows_back(between, padded<T>(p), scratch);
    }
    pack(p, x_grad, [&](int n) { return vec(rows)[n]; });
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

  void mix_rows_back(const T *grad, int width, T *out) const {
    const int vectors = width / Vector<T>::LANES;
    std::fill(out, out + p * width, T(0));
    for (int i = 0; i < q; ++i) {
      const auto *in = vec(grad + i * width);
      auto *a = vec(out + first_[i] * width), *b = vec(out + second_[i] * width);
      for (int v = 0; v < vectors; ++v) a[v] += low_[i] * in[v];
      for (int v = 0; v < vectors; ++v) b[v] += high_[i] * in[v];
    }
  }

  std::vector<int> first_, second_;
  std::vector<T> low_, high_;
  Columns<T> columns_, columns_back_;
};

}  // namespace mobileode
