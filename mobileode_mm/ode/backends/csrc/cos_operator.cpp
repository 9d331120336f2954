// The solver's inference as an operator of torch: one written in Python takes twice as long to call, which small maps
// feel. Its schema, and what its arguments are, is in cos_native.py; what it calls is in cos_native.cpp.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <optional>

// Of C++'s linkage: a declaration that is not of the function there is noticed when the library is loaded.
#define DECLARE(T, NAME)                                                                                              \
  void cos_infer_##NAME(const T *x, int64_t batch, int64_t positions, int p, int q, const T *matrices,                \
                        const T *dt, int steps, int by_channel, const T *weight, const T *bias,                       \
                        const T *means, const T *variances, double eps, double least_step,                            \
                        int transitions, const T *after_scale, const T *after_shift, const T *residual,               \
                        T *out, int threads);

DECLARE(float, float32)
DECLARE(double, float64)

namespace {

typedef std::optional<at::Tensor> Optional;

// Numbers one after the other: a tensor's own, or a copy's.
at::Tensor dense(const at::Tensor &tensor) { return tensor.contiguous(); }
at::Tensor dense(const Optional &tensor) { return tensor ? tensor->contiguous() : at::Tensor(); }
at::Tensor rows(const at::Tensor &tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

template <typename T, typename Infer>
void call(Infer infer, const at::Tensor &x, const at::Tensor &matrices, const at::Tensor &step_lengths,
          const at::Tensor &weight, const at::Tensor &bias, const at::Tensor &mean, const at::Tensor &variance,
          double eps, double least_step, bool transitions, const at::Tensor &after_scale,
          const at::Tensor &after_shift, const at::Tensor &residual, const at::Tensor &out) {
  const auto numbers = [](const at::Tensor &tensor) {
    return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
  };
  infer(numbers(x), x.size(0), x.size(2) * x.size(3), std::lround(std::sqrt(x.size(1))), matrices.size(1),
        numbers(matrices), numbers(step_lengths), matrices.size(0), weight.dim() == 1, numbers(weight), numbers(bias),
        numbers(mean), numbers(variance), eps, least_step, transitions, numbers(after_scale), numbers(after_shift),
        numbers(residual), out.mutable_data_ptr<T>(), at::get_num_threads());
}

at::Tensor cos_infer(const at::Tensor &x, const at::Tensor &matrices, const at::Tensor &step_lengths,
                     const at::Tensor &weight, const at::Tensor &bias, const Optional &mean, const Optional &variance,
                     double eps, double least_step, bool transitions, const Optional &after_scale,
                     const Optional &after_shift, const Optional &residual) {
  const at::Tensor out = at::empty({x.size(0), matrices.size(1) * matrices.size(2), x.size(2), x.size(3)},
                                   x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const auto with = [&](auto zero, auto infer) {
    call<decltype(zero)>(infer, rows(x), dense(matrices), dense(step_lengths), dense(weight), dense(bias), dense(mean),
                         dense(variance), eps, least_step, transitions, dense(after_scale), dense(after_shift),
                         residual ? rows(*residual) : at::Tensor(), out);
  };
  if (x.scalar_type() == at::kDouble)
    with(0.0, cos_infer_float64);
  else
    with(0.0f, cos_infer_float32);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(mobileode, CPU, m) { m.impl("cos_infer", &cos_infer); }
