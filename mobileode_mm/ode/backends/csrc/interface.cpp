// The kernels as C functions, which Python calls: no header of torch, so that a library serves every torch and Python.
//
// Each takes the numbers of a call and the addresses of its tensors, the outputs last, and returns 0, or 1 where there
// is no memory for it. Nothing is checked here: cpu_kernels.py has done that.

#include "solver.h"

#include <new>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace mobileode {
namespace {

// cpu_kernels.py has the same fields in the same order.
struct Call {
  Shape shape;
  int32_t is_double;   // what the tensors are: double, else float
  int32_t by_channel;  // the norm's values are those of channels
  int32_t of_batch;    // the statistics are the batch's own
  double eps, least_step;
};

template <typename T> struct Tensors {
  typedef T Number;
  void *const *addresses;
  T *operator[](int i) const { return static_cast<T *>(addresses[i]); }
};

template <typename Kernel> int run(const Call &call, void *const *addresses, Kernel kernel) {
  try {
    if (call.is_double)
      kernel(Tensors<double>{addresses});
    else
      kernel(Tensors<float>{addresses});
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

}  // namespace
}  // namespace mobileode

using namespace mobileode;

// x, matrices, step_lengths, weight, bias, mean, variance; y.
EXPORT int cos_eval(const Call *call, void *const *addresses) {
  return run(*call, addresses, [call](auto of) {
    typedef typename decltype(of)::Number T;
    infer(call->shape, Solver<T>{of[1], T(1), of[2], T(call->least_step)},
          Norm<T>{of[3], of[4], T(call->eps), bool(call->by_channel)}, Statistics<const T>{of[5], of[6], false}, of[0],
          of[7]);
  });
}

// x, transitions, step_lengths, scale, shift, after_scale, after_shift, residual; y.
EXPORT int cos_deployed(const Call *call, void *const *addresses) {
  return run(*call, addresses, [call](auto of) {
    typedef typename decltype(of)::Number T;
    infer_deployed(call->shape, Solver<T>{of[1], T(0), of[2], T(0)}, Affine<T>{of[3], of[4], bool(call->by_channel)},
                   Epilogue<T>{of[5], of[6], of[7]}, of[0], of[8]);
  });
}

// x, matrices, step_lengths, weight, bias; y, mean, variance.
EXPORT int cos_train(const Call *call, void *const *addresses) {
  return run(*call, addresses, [call](auto of) {
    typedef typename decltype(of)::Number T;
    const auto forward = call->by_channel ? forward_channel<T> : forward_position<T>;
    forward(call->shape, Solver<T>{of[1], T(1), of[2], T(0)},
            Norm<T>{of[3], of[4], T(call->eps), bool(call->by_channel)}, Statistics<T>{of[6], of[7], true}, of[0],
            of[5]);
  });
}

// y_grad, x, matrices, step_lengths, weight, bias, mean, variance; the gradients of x, matrices, step_lengths, weight
// and bias.
EXPORT int cos_train_backward(const Call *call, void *const *addresses) {
  return run(*call, addresses, [call](auto of) {
    typedef typename decltype(of)::Number T;
    const auto backward = call->by_channel ? backward_channel<T> : backward_position<T>;
    backward(call->shape, Solver<T>{of[2], T(1), of[3], T(0)},
             Norm<T>{of[4], of[5], T(call->eps), bool(call->by_channel)},
             Statistics<const T>{of[6], of[7], bool(call->of_batch)}, of[1], of[0],
             Gradients<T>{of[8], of[9], of[10], of[11], of[12]});
  });
}
