// The deployed solver as an operator of onnxruntime: mobileode::ChannelwiseODESolver, of the kernel that PyTorch runs.
//
// Its inputs are those of deployed_call.h.
//
// The threads are the session's. Those of OpenMP, beside them, would fight them for the cores: the session's go on
// spinning for a while behind each operator of theirs.

#include "abi.h"
#include "deployed_call.h"

namespace mobileode {
namespace {

using ort::Api;
using ort::KernelContext;
using ort::Status;

constexpr size_t INPUTS = std::tuple_size_v<Operands>;
// Of an image. Each packs the matrices anew: no more than the cores of most devices.
constexpr int64_t MOST_PIECES = 8;

// A call: `failed` is the first status that was no success.
struct Call {
  const Api *api;
  KernelContext *context;
  Status *failed = nullptr;

  bool ok(Status *status) {
    if (!failed) failed = status;
    return !failed;
  }

  Operand input(size_t index) {
    Operand tensor;
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

Status *compute(void *kernel, KernelContext *context) {
  Call call{static_cast<const Api *>(kernel), context};
  Operands in;
  for (size_t index = 0; index < INPUTS; ++index) in[index] = call.input(index);
  if (call.failed) return call.failed;
  const std::string fault = misfit(in);
  if (!fault.empty())
    return call.api->create_status(ort::INVALID_ARGUMENT, ("mobileode::ChannelwiseODESolver: " + fault).c_str());
  std::vector<int64_t> sizes = in[0].sizes;
  sizes[3] = in[1].sizes[1] * in[1].sizes[1];
  ort::Value *output = nullptr;
  void *y = nullptr;
  if (!call.ok(call.api->output(context, 0, sizes.data(), 4, &output)) || !call.ok(call.api->data(output, &y)))
    return call.failed;
  const DeployedCall work(in, static_cast<float *>(y), MOST_PIECES);
  if (work.pieces == 1)
    work.piece(0);
  else if (work.pieces)
    call.ok(call.api->parallel_for(
        context, [](void *data, size_t number) { static_cast<const DeployedCall *>(data)->piece(number); }, work.pieces, 0,
        const_cast<DeployedCall *>(&work)));
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
