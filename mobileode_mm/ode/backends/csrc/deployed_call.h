// The deployed solver as runtimes call it: by tensors whose shapes are checked here, in pieces for threads of theirs.
#pragma once

#include "solver.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace mobileode {

struct Operand {
  const float *data = nullptr;
  std::vector<int64_t> sizes;  // none: it is left out
  bool is(const std::vector<int64_t> &wanted) const { return sizes == wanted; }
};

// x (B, H, W, p * p); transitions (L, q, q); step_lengths (L,); scale and shift, (H, W) or (q * q,); then, or left out,
// after_scale and after_shift (q * q,), and residual (B, H, W, q * q). The result: y (B, H, W, q * q).
typedef std::array<Operand, 8> Operands;

// What does not fit, for people; empty where all does.
inline std::string misfit(const Operands &in) {
  const auto &[x, transitions, lengths, scale, shift, after_scale, after_shift, residual] = in;
  if (x.sizes.size() != 4) return "x must be (B, H, W, p * p)";
  const auto &matrix = transitions.sizes;
  if (matrix.size() != 3 || matrix[0] < 1 || matrix[1] != matrix[2] || matrix[1] < 1 || matrix[1] > LARGEST_SIDE)
    return "transitions must be (L, q, q)";
  const int64_t p = std::lround(std::sqrt(x.sizes[3])), channels = matrix[1] * matrix[1];
  if (p < 1 || p * p != x.sizes[3]) return "x must be of a square number of channels";
  if (!lengths.is({matrix[0]})) return "step_lengths must be (L,)";
  if (scale.sizes.size() == 1 ? !scale.is({channels}) : !scale.is({x.sizes[1], x.sizes[2]}))
    return "scale must be (H, W) or (q * q,)";
  if (!shift.is(scale.sizes)) return "shift must be of scale's shape";
  const bool follows = !after_scale.sizes.empty();
  if (follows && !after_scale.is({channels})) return "after_scale must be (q * q,)";
  if (!after_shift.is(after_scale.sizes)) return "after_shift must be (q * q,), beside after_scale";
  if (!residual.sizes.empty() && !(follows && residual.is({x.sizes[0], x.sizes[1], x.sizes[2], channels})))
    return "residual must be (B, H, W, q * q), beside after_scale";
  return "";
}

// A call in pieces of positions of one image, which any thread may do.
class DeployedCall {
 public:
  // Of operands without a misfit; y is as large as the result; an image has that many pieces at most.
  DeployedCall(const Operands &in, float *y, int64_t most) : y(y) {
    const auto &[x, transitions, lengths, scale, shift, after_scale, after_shift, residual] = in;
    const int64_t positions = x.sizes[1] * x.sizes[2], steps = transitions.sizes[0], q = transitions.sizes[1];
    image = Shape{1, positions, int(std::lround(std::sqrt(x.sizes[3]))), int(q), int(steps), 1};
    solver = Solver<float>{transitions.data, 0, lengths.data, 0};
    norm = Affine<float>{scale.data, shift.data, scale.sizes.size() == 1};
    after = Epilogue<float>{after_scale.data, after_shift.data, residual.data};
    this->x = x.data;
    of_image = std::min({std::max<int64_t>(1, positions * steps * q * q * q / LEAST_WORK), positions, most});
    pieces = x.sizes[0] * of_image;
  }

  // 0 where y is empty.
  int64_t pieces;

  void piece(int64_t number) const {
    const int64_t at = number % of_image, begin = image.positions * at / of_image;
    const int64_t first = number / of_image * image.positions + begin;
    const int64_t in = int64_t(image.p) * image.p, out = int64_t(image.q) * image.q;
    Shape shape = image;
    shape.positions = image.positions * (at + 1) / of_image - begin;
    Affine<float> affine = norm;
    if (!norm.by_channel) affine.scale += begin, affine.shift += begin;
    Epilogue<float> epilogue = after;
    if (after.residual) epilogue.residual += first * out;
    infer_deployed(shape, solver, affine, epilogue, x + first * in, y + first * out);
  }

 private:
  // Multiply-adds of the smallest piece that is worth a thread, as in cpu_kernels.py.
  static constexpr int64_t LEAST_WORK = 200000;

  Shape image;
  Solver<float> solver;
  Affine<float> norm;
  Epilogue<float> after;
  const float *x;
  float *y;
  int64_t of_image;
};

}  // namespace mobileode
