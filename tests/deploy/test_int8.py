"""Eight bits: which operators belong together, which are chosen, and what the files say and weigh."""
import numpy as np
import pytest
from mmengine.config import Config

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from mobileode_mm.backbones.mobileode import SolverModule  # noqa: E402
from mobileode_mm.deploy.formats import OPSET, quiet  # noqa: E402
from mobileode_mm.deploy.int8 import Quantiser  # noqa: E402
from mobileode_mm.deploy.precision import Group, choose, groups, processor, table  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402
from mobileode_mm.ode import ExportedODESolver  # noqa: E402
from mobileode_mm.runs.training import learn_eight_bits  # noqa: E402


class Network(torch.nn.Module):
    """A first convolution, SiLU, a pointwise and a depthwise one, and a solver of two steps with what follows it."""

    def __init__(self, norm, limit):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(16, 16, 1),
                                          torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, padding=1, groups=16))
        self.block = SolverModule(16, 16, dict(norm=norm, num_steps=2, grid_size=(6, 6)), dict(type='BN'))
        self.block.eval().fold_into_solver({self.block.solver: (6, 6)})
        self.block.solver = ExportedODESolver(self.block.solver, limit)

    def forward(self, image):
        x = self.layers(image.permute(0, 3, 1, 2).float() / 255)
        return self.block(x, x)


@pytest.fixture(scope='module', params=[('position', 0), ('position', 10**6), ('channel', 0)])
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp('int8') / 'network.onnx'
    example = torch.zeros(1, 12, 12, 3, dtype=torch.uint8)
    with torch.no_grad(), quiet():
        program = torch.export.export(Network(*request.param).eval(), (example, ))
        model = torch.onnx.export(program, input_names=['image'], opset_version=OPSET, dynamo=True).model_proto
    helper.set_model_props(model, dict(size='[12, 12]', precision='float32', task='none'))
    onnx.save(model, str(path))
    return path


def test_what_gains_alike_is_a_group(file):
    images = list(np.random.default_rng(0).integers(0, 256, (3, 1, 12, 12, 3), np.uint8))
    quantiser = Quantiser(file, images)
    kinds = {node.name: node.op_type for node in quantiser.model.graph.node}
    found = {group.name: sorted(kinds[name] for name in group.nodes) for group in groups(quantiser.model.graph)}
    product = 'MatMul' if 'MatMul' in kinds.values() else 'Conv'
    assert found.pop('solver products') in ([product] * 2, ['Clip'] * 2 + [product] * 2)
    assert found == {'first convolution': ['Conv', 'Mul', 'Sigmoid'], 'convolutions': ['Conv', 'Relu'],
                     'depthwise convolutions': ['Clip', 'Conv', 'Conv'], 'sums': ['Add'],
                     'solver sums': ['Add'] * 3}

    # One group alone: its products are in int8, the others are not, and the outputs are near.
    some = next(group.nodes for group in groups(quantiser.model.graph) if group.name == 'convolutions')
    out = file.with_suffix('.int8.onnx')
    for nodes in (some, quantiser.products()):
        made = onnx.load(str(quantiser.write(nodes, out)))
        onnx.checker.check_model(made, full_check=True)
        assert {entry.key: entry.value for entry in made.metadata_props} == dict(
            size='[12, 12]', precision='int8', task='none')
        scaled = {name for node in made.graph.node if node.op_type == 'DequantizeLinear' for name in node.output}
        quantised = {node.name for node in made.graph.node if set(node.input[:2]) <= scaled}
        assert quantised & quantiser.products() == nodes & quantiser.products()
        exact, near = (onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider']).run(
            None, {'image': images[0]})[0] for path in (file, out))
        assert np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


def products_file(path, count):
    """That many products of 128×128 in a row."""
    weight = numpy_helper.from_array(np.eye(128, dtype=np.float32), 'weight')
    names = ['x', *(f'y{number}' for number in range(count))]
    nodes = [helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
             *(helper.make_node('MatMul', [one, 'weight'], [two]) for one, two in zip(names, names[1:]))]
    ends = [helper.make_tensor_value_info(name, kind, [128, 128])
            for name, kind in (('image', TensorProto.UINT8), (names[-1], TensorProto.FLOAT))]
    graph = helper.make_graph(nodes, 'products', ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=9), str(path))
    return path


def test_only_what_gains_is_chosen(tmp_path):
    """Files whose times differ many times over: one group saves most of the work, one doubles it."""
    files = {work: products_file(tmp_path / f'{work}.onnx', work) for work in (2, 20, 40)}
    gains, loses = Group('gains', frozenset('a')), Group('loses', frozenset('bc'))

    def build(nodes):
        return files[40 if loses.nodes <= nodes else 2]

    image = np.ones((128, 128), np.uint8)
    nodes, ratio, trials = choose([gains, loses], build, files[20], image)
    assert nodes == gains.nodes and ratio < 1 and [trial.chosen for trial in trials] == [True, False]
    assert [line.split()[-1] for line in table(trials)[1:]] == ['int8', 'float32']
    nodes, ratio, trials = choose([loses], build, files[20], image)
    assert not nodes and ratio == 1 and trials[0].ratio > 1


def test_the_processor_is_named_with_its_flags():
    assert processor().endswith(')')


def test_two_epochs_from_trained_weights(tmp_path):
    cfg = Config(dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=1),
                      optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)),
                      param_scheduler=[dict(type='MultiStepLR', milestones=[4])], custom_hooks=[dict(type='EMAHook')]))
    learn_eight_bits(cfg, tmp_path / 'epoch_6.pth')
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == 2 and cfg.optim_wrapper.optimizer.lr == 0.05
    assert cfg.load_from == str(tmp_path / 'epoch_6.pth')
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook', 'QuantisationAwareHook']
    assert [one.type for one in cfg.param_scheduler] == ['CosineAnnealingLR']
    cfg = Config(dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=6)))
    with pytest.raises(InputError, match='does not train by epochs'):
        learn_eight_bits(cfg, tmp_path / 'epoch_6.pth')
