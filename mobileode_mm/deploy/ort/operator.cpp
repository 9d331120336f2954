// The deployed solver as an operator of onnxruntime: mobileode::ChannelwiseODESolver, of the kernel that PyTorch runs.
//
// Inputs: x (B, H, W, p * p); transitions (L, q, q); step_lengths (L,); scale and shift, (H, W) or (q * q,); then, or
// left out, after_scale and after_shift (q * q,), and residual (B, H, W, q * q). Output: y (B, H, W, q * q).
//
// The threads are the session's. Those of OpenMP, beside them, would fight them for the cores: the session's go on
// spinning for a while behind each operator of theirs.

#include "abi.h"
#include "solver.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace mobileode {
namespace {

using ort::Api;
using ort::KernelContext;
using ort::Status;

constexpr size_t INPUTS = 8;
constexpr const char *NAMES[INPUTS] = {"x",     "transitions", "step_lengths", "scale",
                                       "shift", "after_scale", "after_shift",  "residual"};
// Multiply-adds of the smallest piece that is worth a thread, as in cpu_kernels.py, and the most pieces.
constexpr int64_t LEAST_WORK = 200000, MOST_PIECES = 64;

struct Tensor {
  const float *data = nullptr;
  std::vector<int64_t> sizes;
  bool is(std::vector<int64_t> wanted) const { return sizes == wanted; }
};

// A call: `failed` is the first status that was no success.
struct Call {
  const Api *api;
  KernelContext *context;
  Status *failed = nullptr;

  bool ok(Status *status) {
    if (!failed) failed = status;
    return !failed;
  }

  void need(bool fits, size_t input, const char *wanted) {
    if (!fits && !failed)
      failed = api->create_status(ort::INVALID_ARGUMENT, (std::string("mobileode::ChannelwiseODESolver: ") + NAMES[input] +
                                                          " must be " + wanted).c_str());
  }

  Tensor input(size_t index) {
    Tensor tensor;
    const ort::Value *value = nullptr;
    if (!ok(api->input(context, index, &value)) || !value) return tensor;
    ort::TensorInfo *info = nullptr;
    if (!ok(api->info(value, &info))) return tensor;
    size_t rank = 0;
    if (ok(api->rank(info, &rank))) {
      tensor.sizes.resize(rank);
      ok(api->sizes(info, tensor.sizes.data(), rank));
    }
    api->release(info);
    void *data = nullptr;
    if (ok(api->data(const_cast<ort::Value *>(value), &data))) tensor.data = static_cast<const float *>(data);
    return tensor;
  }
};

// What is to be done, in pieces of positions of one image that any thread may do.
struct Work {
  Shape image;
  Solver<float> solver;
  Affine<float> norm;
  Epilogue<float> after;
  const float *x;
  float *y;
  int64_t pieces_an_image;

  void piece(int64_t number) const {
    const int64_t at = number % pieces_an_image, begin = image.positions * at / pieces_an_image;
    const int64_t first = number / pieces_an_image * image.positions + begin;
    const int64_t in = int64_t(image.p) * image.p, out = int64_t(image.q) * image.q;
    Shape shape = image;
    shape.positions = image.positions * (at + 1) / pieces_an_image - begin;
    Affine<float> affine = norm;
    if (!norm.by_channel) affine.scale += begin, affine.shift += begin;
    Epilogue<float> epilogue = after;
    if (after.residual) epilogue.residual += first * out;
    infer_deployed(shape, solver, affine, epilogue, x + first * in, y + first * out);
  }
};

Status *compute(void *kernel, KernelContext *context) {
  Call call{static_cast<const Api *>(kernel), context};
  Tensor in[INPUTS];
  for (size_t index = 0; index < INPUTS; ++index) in[index] = call.input(index);
  if (call.failed) return call.failed;
  const auto &[x, transitions, lengths, scale, shift, after_scale, after_shift, residual] = in;
  call.need(x.sizes.size() == 4, 0, "(B, H, W, p * p)");
  call.need(transitions.sizes.size() == 3 && transitions.sizes[0] > 0 && transitions.sizes[1] == transitions.sizes[2] &&
                transitions.sizes[1] > 0 && transitions.sizes[1] <= LARGEST_SIDE,
            1, "(L, q, q)");
  if (call.failed) return call.failed;
  const int64_t batch = x.sizes[0], height = x.sizes[1], width = x.sizes[2], positions = height * width;
  const int64_t p = std::lround(std::sqrt(x.sizes[3])), steps = transitions.sizes[0], q = transitions.sizes[1];
  const std::vector<int64_t> y_sizes = {batch, height, width, q * q};
  const bool by_channel = scale.sizes.size() == 1;
  call.need(p > 0 && p * p == x.sizes[3], 0, "of a square number of channels");
  call.need(lengths.is({steps}), 2, "(L,)");
  call.need(by_channel ? scale.is({q * q}) : scale.is({height, width}), 3, "(H, W) or (q * q,)");
  call.need(shift.is(scale.sizes), 4, "of scale's shape");
  call.need(!after_scale.data || after_scale.is({q * q}), 5, "(q * q,)");
  call.need(after_scale.data ? after_shift.is({q * q}) : !after_shift.data, 6, "(q * q,), beside after_scale");
  call.need(!residual.data || (after_scale.data && residual.is(y_sizes)), 7, "(B, H, W, q * q), beside after_scale");
  ort::Value *output = nullptr;
  if (call.failed || !call.ok(call.api->output(context, 0, y_sizes.data(), 4, &output))) return call.failed;
  void *y = nullptr;
  if (!call.ok(call.api->data(output, &y)) || !batch || !positions) return call.failed;

  const Work work = {Shape{1, positions, int(p), int(q), int(steps), 1},
                     Solver<float>{transitions.data, 0, lengths.data, 0},
                     Affine<float>{scale.data, shift.data, by_channel},
                     Epilogue<float>{after_scale.data, after_shift.data, residual.data},
                     x.data,
                     static_cast<float *>(y),
                     std::clamp<int64_t>(positions * steps * q * q * q / LEAST_WORK, 1, std::min(positions, MOST_PIECES))};
  const int64_t pieces = batch * work.pieces_an_image;
  if (pieces == 1)
    work.piece(0);
  else
    call.ok(call.api->parallel_for(
        context, [](void *data, size_t number) { static_cast<const Work *>(data)->piece(number); }, pieces, 0,
        const_cast<Work *>(&work)));
  return call.failed;
}

// A kernel has nothing of its own: it is the table of functions.
Status *create(const ort::Op *, const Api *api, const ort::KernelInfo *, void **kernel) {
  *kernel = const_cast<Api *>(api);
  return nullptr;
}

const ort::Op OP = {
    ort::OP_VERSION,
    nullptr,
    [](const ort::Op *) -> const char * { return "ChannelwiseODESolver"; },
    [](const ort::Op *) -> const char * { return nullptr; },
    [](const ort::Op *, size_t) { return ort::FLOAT_TENSOR; },
    [](const ort::Op *) { return INPUTS; },
    [](const ort::Op *, size_t) { return ort::FLOAT_TENSOR; },
    [](const ort::Op *) { return size_t(1); },
    nullptr,
    [](void *) {},
    [](const ort::Op *, size_t index) { return index < 5 ? ort::REQUIRED : ort::OPTIONAL; },
    [](const ort::Op *, size_t) { return ort::REQUIRED; },
    [](const ort::Op *, size_t) { return ort::DEFAULT_MEMORY; },
    nullptr, nullptr, nullptr, nullptr,
    create,
    compute,
};

}  // namespace
}  // namespace mobileode

// What onnxruntime calls when it loads the library.
extern "C" __attribute__((visibility("default"))) mobileode::ort::Status *RegisterCustomOps(
    mobileode::ort::SessionOptions *options, const mobileode::ort::ApiBase *base) {
  const mobileode::ort::Api *api = base->get(mobileode::ort::API_VERSION);
  if (!api) return nullptr;  // older than 1.17, which has said so itself: the operator stays unknown to it
  static mobileode::ort::OpDomain *domain = nullptr;
  if (!domain) {
    if (auto *failed = api->create_domain("mobileode", &domain)) return failed;
    if (auto *failed = api->add_op(domain, &mobileode::OP)) return failed;
  }
  return api->add_domain(options, domain);
}
