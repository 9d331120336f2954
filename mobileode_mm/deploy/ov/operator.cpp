// The deployed solver as an operator of OpenVINO: mobileode::ChannelwiseODESolver, of the kernel that PyTorch runs.
//
// Its inputs are those of deployed_call.h. The threads are those of the arena that calls it: OpenVINO's own, as many as
// INFERENCE_NUM_THREADS says.

#include "deployed_call.h"

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/frontend/onnx/extension/op.hpp>
#include <openvino/op/op.hpp>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

namespace mobileode {
namespace {

class ChannelwiseODESolver : public ov::op::Op {
 public:
  OPENVINO_OP("ChannelwiseODESolver", "mobileode");

  ChannelwiseODESolver() = default;

  explicit ChannelwiseODESolver(const ov::OutputVector &inputs) : Op(inputs) { constructor_validate_and_infer_types(); }

  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector &inputs) const override {
    return std::make_shared<ChannelwiseODESolver>(inputs);
  }

  // It has none: all that it is stands in its inputs.
  bool visit_attributes(ov::AttributeVisitor &) override { return true; }

  void validate_and_infer_types() override {
    const size_t count = get_input_size();
    NODE_VALIDATION_CHECK(this, count == 5 || count == 7 || count == 8, "it has 5, 7 or 8 inputs, not ", count);
    Operands in;
    bool sizes_known = true;
    for (size_t index = 0; index < count; ++index) {
      NODE_VALIDATION_CHECK(this, get_input_element_type(index).compatible(ov::element::f32), "its inputs are float32");
      const auto &sizes = get_input_partial_shape(index);
      sizes_known = sizes_known && sizes.is_static();
      if (sizes_known) in[index].sizes = sizes_of(sizes.to_shape());
    }
    const std::string fault = sizes_known ? misfit(in) : "";
    NODE_VALIDATION_CHECK(this, fault.empty(), fault);
    auto y = get_input_partial_shape(0), transitions = get_input_partial_shape(1);
    NODE_VALIDATION_CHECK(this, y.rank().compatible(4) && transitions.rank().compatible(3), "its maps have 4 axes");
    if (y.rank().is_dynamic()) y = ov::PartialShape::dynamic(4);
    y[3] = transitions.rank().is_static() ? transitions[1] * transitions[1] : ov::Dimension::dynamic();
    set_output_type(0, ov::element::f32, y);
  }

  bool has_evaluate() const override { return true; }

  bool evaluate(ov::TensorVector &outputs, const ov::TensorVector &inputs) const override {
    Operands in;
    for (size_t index = 0; index < inputs.size(); ++index)
      in[index] = Operand{inputs[index].data<const float>(), sizes_of(inputs[index].get_shape())};
    const std::string fault = misfit(in);
    OPENVINO_ASSERT(fault.empty(), "mobileode::ChannelwiseODESolver: ", fault);
    ov::Shape sizes = inputs[0].get_shape();
    sizes[3] = size_t(in[1].sizes[1] * in[1].sizes[1]);
    outputs[0].set_shape(sizes);
    // Each piece packs the matrices anew; several a thread, as threads are not equally fast.
    const int threads = tbb::this_task_arena::max_concurrency();
    const DeployedCall call(in, outputs[0].data<float>(), threads > 1 ? 4 * threads : 1);
    tbb::parallel_for(int64_t(0), call.pieces, [&](int64_t number) { call.piece(number); });
    return true;
  }

 private:
  static std::vector<int64_t> sizes_of(const ov::Shape &shape) { return {shape.begin(), shape.end()}; }
};

}  // namespace
}  // namespace mobileode

// What OpenVINO calls when it loads the library: the operator in its own files, and that in files of ONNX.
OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<ov::OpExtension<mobileode::ChannelwiseODESolver>>(),
    std::make_shared<ov::frontend::onnx::OpExtension<mobileode::ChannelwiseODESolver>>("ChannelwiseODESolver",
                                                                                       "mobileode"),
}));
