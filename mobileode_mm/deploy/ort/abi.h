// The part of onnxruntime's C interface that the operator needs, declared here: no package of the registries brings its
// header. The interface only ever grows at its end, so that the places below hold for every onnxruntime from 1.17 on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mobileode::ort {

struct Status;
struct SessionOptions;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct OpDomain;

// The versions whose table and whose struct Op are meant: the struct of 17 has more fields.
constexpr uint32_t API_VERSION = 17, OP_VERSION = 16;
constexpr int FLOAT_TENSOR = 1, INVALID_ARGUMENT = 2, REQUIRED = 0, OPTIONAL = 1, DEFAULT_MEMORY = 0;

// Places in the table of functions.
class Api {
  template <typename Result, typename... Arguments> auto at(size_t place) const {
    return reinterpret_cast<Result (*)(Arguments...)>(reinterpret_cast<void *const *>(this)[place]);
  }

 public:
  Status *create_status(int code, const char *message) const { return at<Status *, int, const char *>(0)(code, message); }
  Status *create_domain(const char *name, OpDomain **out) const {
    return at<Status *, const char *, OpDomain **>(26)(name, out);
  }
  Status *add_op(OpDomain *domain, const void *op) const {
    return at<Status *, OpDomain *, const void *>(27)(domain, op);
  }
  Status *add_domain(SessionOptions *options, OpDomain *domain) const {
    return at<Status *, SessionOptions *, OpDomain *>(28)(options, domain);
  }
  Status *data(Value *value, void **out) const { return at<Status *, Value *, void **>(51)(value, out); }
  Status *rank(const TensorInfo *info, size_t *out) const {
    return at<Status *, const TensorInfo *, size_t *>(61)(info, out);
  }
  Status *sizes(const TensorInfo *info, int64_t *out, size_t count) const {
    return at<Status *, const TensorInfo *, int64_t *, size_t>(62)(info, out, count);
  }
  Status *info(const Value *value, TensorInfo **out) const {
    return at<Status *, const Value *, TensorInfo **>(65)(value, out);
  }
  Status *input(const KernelContext *context, size_t index, const Value **out) const {
    return at<Status *, const KernelContext *, size_t, const Value **>(90)(context, index, out);
  }
  Status *output(KernelContext *context, size_t index, const int64_t *sizes, size_t count, Value **out) const {
    return at<Status *, KernelContext *, size_t, const int64_t *, size_t, Value **>(91)(context, index, sizes, count, out);
  }
  // one(data, number) for every number under `count`, by the session's threads.
  Status *parallel_for(const KernelContext *context, void (*one)(void *, size_t), size_t count, size_t batches,
                       void *data) const {
    return at<Status *, const KernelContext *, void (*)(void *, size_t), size_t, size_t, void *>(274)(
        context, one, count, batches, data);
  }
  void release(TensorInfo *info) const { at<void, TensorInfo *>(99)(info); }
};

struct ApiBase {
  const Api *(*get)(uint32_t version);
  const char *(*version)();
};

// What describes an operator.
struct Op {
  uint32_t version;
  void *(*create)(const Op *, const Api *, const KernelInfo *);
  const char *(*name)(const Op *);
  const char *(*provider)(const Op *);
  int (*input_type)(const Op *, size_t);
  size_t (*input_count)(const Op *);
  int (*output_type)(const Op *, size_t);
  size_t (*output_count)(const Op *);
  void (*compute)(void *, KernelContext *);
  void (*destroy)(void *);
  int (*input_kind)(const Op *, size_t);
  int (*output_kind)(const Op *, size_t);
  int (*input_memory)(const Op *, size_t);
  int (*variadic_input_least)(const Op *);
  int (*variadic_input_alike)(const Op *);
  int (*variadic_output_least)(const Op *);
  int (*variadic_output_alike)(const Op *);
  Status *(*create_checked)(const Op *, const Api *, const KernelInfo *, void **);
  Status *(*compute_checked)(void *, KernelContext *);
};

}  // namespace mobileode::ort
