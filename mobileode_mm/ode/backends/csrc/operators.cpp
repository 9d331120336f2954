// The kernels as operators of torch: what their arguments have to be, and the tensors that they return. The schemas,
// and what the arguments are, stand in cpu_operators.py.

#include "solver.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

namespace mobileode {
namespace {

using at::Tensor;
typedef std::optional<Tensor> Optional;

// Multiply-adds under which one thread does all: starting others takes longer.
#ifndef LEAST_WORK_PER_THREAD
#define LEAST_WORK_PER_THREAD 200000
#endif

// The checks of one call. Messages begin with the operator's name and name the argument.
class Checks {
 public:
  Checks(const char *name, const Tensor &x) : name(name), x(x) {
    TORCH_CHECK(x.device().is_cpu(), name, ": x is on ", x.device(), ", must be on the CPU");
    TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, name, ": x is ", x.scalar_type(),
                ", must be Float or Double");
    TORCH_CHECK(x.dim() == 4, name, ": x is ", x.sizes(), ", must be (B, p * p, H, W)");
    p = std::lround(std::sqrt(x.size(1)));
    TORCH_CHECK(p > 0 && p * p == x.size(1), name, ": x has ", x.size(1), " channels, which is no square of a side");
  }

  // Of x's type, where the kernels are.
  void type(const char *argument, const Tensor &tensor) const {
    TORCH_CHECK(tensor.device().is_cpu(), name, ": ", argument, " is on ", tensor.device(), ", must be on the CPU, as x");
    TORCH_CHECK(tensor.scalar_type() == x.scalar_type(), name, ": ", argument, " is ", tensor.scalar_type(),
                ", must be ", x.scalar_type(), ", as x");
  }

  void shape(const char *argument, const Tensor &tensor, at::IntArrayRef sizes) const {
    type(argument, tensor);
    TORCH_CHECK(tensor.sizes() == sizes, name, ": ", argument, " is ", tensor.sizes(), ", must be ", sizes);
  }

  void solver(const char *argument, const Tensor &matrices, const Tensor &step_lengths) {
    type(argument, matrices);
    TORCH_CHECK(matrices.dim() == 3 && matrices.size(1) == matrices.size(2), name, ": ", argument, " is ",
                matrices.sizes(), ", must be (L, q, q)");
    TORCH_CHECK(matrices.size(0) > 0, name, ": ", argument, " is ", matrices.sizes(), ", must have one step at least");
    q = matrices.size(1);
    TORCH_CHECK(q > 0 && q <= LARGEST_SIDE, name, ": ", argument, " is ", matrices.sizes(), ", must have sides of 1 to ",
                LARGEST_SIDE);
    steps = matrices.size(0);
    shape("step_lengths", step_lengths, {steps});
  }

  // Both values of a norm: (H, W) each where it is of positions, (q * q,) where it is of channels.
  void norm(const char *first_name, const Tensor &first, const char *second_name, const Tensor &second) {
    type(first_name, first);
    by_channel = first.dim() == 1;
    const bool fits = by_channel ? first.size(0) == q * q : first.sizes() == x.sizes().slice(2);
    TORCH_CHECK(fits, name, ": ", first_name, " is ", first.sizes(), ", must be ", x.sizes().slice(2), " or [", q * q,
                "]");
    shape(second_name, second, first.sizes());
  }

  std::array<int64_t, 4> y_sizes() const { return {x.size(0), q * q, x.size(2), x.size(3)}; }

  // Of all threads, those that the steps of all positions are worth.
  Shape shape_of_work() const {
    const int64_t positions = x.size(2) * x.size(3);
    const int64_t worth = x.size(0) * positions * steps * q * q * q / LEAST_WORK_PER_THREAD;
    const int64_t threads = std::max<int64_t>(1, std::min({int64_t(at::get_num_threads()), positions, worth}));
    return {x.size(0), positions, int(p), int(q), int(steps), int(threads)};
  }

  const char *const name;
  const Tensor &x;
  int64_t p, q, steps;
  bool by_channel;
};

Tensor rows(const Tensor &tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

Tensor empty_rows(const Tensor &x, at::IntArrayRef sizes) {
  return at::empty(sizes, x.options().memory_format(at::MemoryFormat::ChannelsLast));
}

template <typename T> const T *numbers(const Tensor &tensor) { return tensor.const_data_ptr<T>(); }

// Calls call(T()), T being the type of x's numbers.
template <typename Call> void with_type(const Tensor &x, Call call) {
  if (x.scalar_type() == at::kDouble)
    call(0.0);
  else
    call(0.0f);
}

// The solver by a norm of fixed statistics, of arguments that are checked.
Tensor infer_checked(const Checks &checks, const Tensor &matrices, const Tensor &step_lengths, const Tensor &weight,
                     const Tensor &bias, const Tensor &mean, const Tensor &variance, double eps, double least_step) {
  const Tensor x = rows(checks.x), all_matrices = matrices.contiguous(), lengths = step_lengths.contiguous();
  const Tensor values[] = {weight.contiguous(), bias.contiguous(), mean.contiguous(), variance.contiguous()};
  const Tensor y = empty_rows(x, checks.y_sizes());
  with_type(x, [&](auto zero) {
    typedef decltype(zero) T;
    infer(checks.shape_of_work(), Solver<T>{numbers<T>(all_matrices), T(1), numbers<T>(lengths), T(least_step)},
          Norm<T>{numbers<T>(values[0]), numbers<T>(values[1]), T(eps), checks.by_channel},
          Statistics<const T>{numbers<T>(values[2]), numbers<T>(values[3]), false}, numbers<T>(x),
          y.mutable_data_ptr<T>());
  });
  return y;
}

Tensor cos_eval(const Tensor &x, const Tensor &matrices, const Tensor &step_lengths, const Tensor &weight,
                 const Tensor &bias, const Tensor &mean, const Tensor &variance, double eps, double least_step) {
  Checks checks("cos_eval", x);
  checks.solver("matrices", matrices, step_lengths);
  checks.norm("weight", weight, "bias", bias);
  checks.shape("mean", mean, weight.sizes());
  checks.shape("variance", variance, weight.sizes());
  TORCH_CHECK(least_step >= 0, "cos_eval: least_step is ", least_step, ", must be 0 or more");
  return infer_checked(checks, matrices, step_lengths, weight, bias, mean, variance, eps, least_step);
}

void check_epilogue(const Checks &checks, const Optional &after_scale, const Optional &after_shift,
                    const Optional &residual) {
  TORCH_CHECK(after_scale.has_value() == after_shift.has_value(), checks.name,
              ": after_scale and after_shift come together or not at all");
  TORCH_CHECK(after_scale || !residual, checks.name, ": residual comes with after_scale and after_shift alone");
  if (!after_scale) return;
  checks.shape("after_scale", *after_scale, {checks.q * checks.q});
  checks.shape("after_shift", *after_shift, {checks.q * checks.q});
  if (residual) checks.shape("residual", *residual, checks.y_sizes());
}

Tensor cos_deployed(const Tensor &x_given, const Tensor &transitions_given, const Tensor &step_lengths_given,
                    const Tensor &scale_given, const Tensor &shift_given, const Optional &after_scale,
                    const Optional &after_shift, const Optional &residual) {
  Checks checks("cos_deployed", x_given);
  checks.solver("transitions", transitions_given, step_lengths_given);
  checks.norm("scale", scale_given, "shift", shift_given);
  check_epilogue(checks, after_scale, after_shift, residual);
  const Tensor x = rows(x_given), transitions = transitions_given.contiguous(),
               step_lengths = step_lengths_given.contiguous(), scale = scale_given.contiguous(),
               shift = shift_given.contiguous();
  const Tensor after[] = {after_scale ? after_scale->contiguous() : Tensor(),
                          after_shift ? after_shift->contiguous() : Tensor(), residual ? rows(*residual) : Tensor()};
  const Tensor y = empty_rows(x, checks.y_sizes());
  with_type(x, [&](auto zero) {
    typedef decltype(zero) T;
    const auto given = [](const Tensor &tensor) { return tensor.defined() ? numbers<T>(tensor) : nullptr; };
    infer_deployed(checks.shape_of_work(), Solver<T>{numbers<T>(transitions), T(0), numbers<T>(step_lengths), T(0)},
                   Affine<T>{numbers<T>(scale), numbers<T>(shift), checks.by_channel},
                   Epilogue<T>{given(after[0]), given(after[1]), given(after[2])}, numbers<T>(x),
                   y.mutable_data_ptr<T>());
  });
  return y;
}

std::tuple<Tensor, Tensor, Tensor> cos_train(const Tensor &x_given, const Tensor &matrices_given,
                                             const Tensor &step_lengths_given, const Tensor &weight_given,
                                             const Tensor &bias_given, double eps, const Optional &fixed_mean,
                                             const Optional &fixed_variance) {
  Checks checks("cos_train", x_given);
  checks.solver("matrices", matrices_given, step_lengths_given);
  checks.norm("weight", weight_given, "bias", bias_given);
  TORCH_CHECK(fixed_mean.has_value() == fixed_variance.has_value(),
              "cos_train: mean and variance come together or not at all");
  if (fixed_mean) {
    checks.shape("mean", *fixed_mean, weight_given.sizes());
    checks.shape("variance", *fixed_variance, weight_given.sizes());
    const Tensor y = infer_checked(checks, matrices_given, step_lengths_given, weight_given, bias_given, *fixed_mean,
                                   *fixed_variance, eps, 0);
    return {y, fixed_mean->clone(at::MemoryFormat::Contiguous), fixed_variance->clone(at::MemoryFormat::Contiguous)};
  }
  const Shape shape = checks.shape_of_work();
  const int64_t count = shape.batch * (checks.by_channel ? shape.positions : checks.q * checks.q);
  TORCH_CHECK(count > 1, "cos_train: x is ", x_given.sizes(), ", which gives each of the batch's statistics ", count,
              " values, must be 2 or more");
  const Tensor x = rows(x_given), matrices = matrices_given.contiguous(),
               step_lengths = step_lengths_given.contiguous(), weight = weight_given.contiguous(),
               bias = bias_given.contiguous();
  std::vector<int64_t> sizes = weight.sizes().vec();
  sizes.insert(sizes.begin(), checks.steps);
  const Tensor y = empty_rows(x, checks.y_sizes()), mean = at::empty(sizes, weight.options()),
               variance = at::empty(sizes, weight.options());
  with_type(x, [&](auto zero) {
    typedef decltype(zero) T;
    const auto forward = checks.by_channel ? forward_channel<T> : forward_position<T>;
    forward(shape, Solver<T>{numbers<T>(matrices), T(1), numbers<T>(step_lengths), T(0)},
            Norm<T>{numbers<T>(weight), numbers<T>(bias), T(eps), checks.by_channel},
            Statistics<T>{mean.mutable_data_ptr<T>(), variance.mutable_data_ptr<T>(), true}, numbers<T>(x),
            y.mutable_data_ptr<T>());
  });
  return {y, mean, variance};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cos_train_backward(
    const Tensor &y_grad_given, const Tensor &x_given, const Tensor &matrices_given, const Tensor &step_lengths_given,
    const Tensor &weight_given, const Tensor &bias_given, double eps, const Tensor &mean_given,
    const Tensor &variance_given) {
  Checks checks("cos_train_backward", x_given);
  checks.solver("matrices", matrices_given, step_lengths_given);
  checks.norm("weight", weight_given, "bias", bias_given);
  checks.shape("y_grad", y_grad_given, checks.y_sizes());
  const bool of_batch = mean_given.dim() > weight_given.dim();
  std::vector<int64_t> sizes = weight_given.sizes().vec();
  if (of_batch) sizes.insert(sizes.begin(), checks.steps);
  checks.shape("mean", mean_given, sizes);
  checks.shape("variance", variance_given, sizes);
  const Tensor y_grad = rows(y_grad_given), x = rows(x_given), matrices = matrices_given.contiguous(),
               step_lengths = step_lengths_given.contiguous(), weight = weight_given.contiguous(),
               bias = bias_given.contiguous(), mean = mean_given.contiguous(), variance = variance_given.contiguous();
  const Tensor x_grad = empty_rows(x, x.sizes());
  const Tensor grads[] = {at::empty(matrices.sizes(), x.options()), at::empty(step_lengths.sizes(), x.options()),
                          at::empty(weight.sizes(), x.options()), at::empty(bias.sizes(), x.options())};
  with_type(x, [&](auto zero) {
    typedef decltype(zero) T;
    const auto backward = checks.by_channel ? backward_channel<T> : backward_position<T>;
    backward(checks.shape_of_work(), Solver<T>{numbers<T>(matrices), T(1), numbers<T>(step_lengths), T(0)},
             Norm<T>{numbers<T>(weight), numbers<T>(bias), T(eps), checks.by_channel},
             Statistics<const T>{numbers<T>(mean), numbers<T>(variance), of_batch}, numbers<T>(x), numbers<T>(y_grad),
             Gradients<T>{x_grad.mutable_data_ptr<T>(), grads[0].mutable_data_ptr<T>(), grads[1].mutable_data_ptr<T>(),
                          grads[2].mutable_data_ptr<T>(), grads[3].mutable_data_ptr<T>()});
  });
  return {x_grad, grads[0], grads[1], grads[2], grads[3]};
}

}  // namespace
}  // namespace mobileode

TORCH_LIBRARY_IMPL(mobileode, CPU, m) {
  m.impl("cos_eval", &mobileode::cos_eval);
  m.impl("cos_deployed", &mobileode::cos_deployed);
  m.impl("cos_train", &mobileode::cos_train);
  m.impl("cos_train_backward", &mobileode::cos_train_backward);
}
