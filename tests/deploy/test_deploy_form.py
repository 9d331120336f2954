"""The deploy form: the trained network's outputs, for every network and option, and no way back to training."""
import copy
from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mobileode_mm
from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.backbones import MobileNetV1, MobileODEV1, MobileODEV2, MobileViTODE
from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver, DeployedODESolver, PositionNorm
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
BACKBONES = [MobileODEV1, MobileODEV2, MobileNetV1, MobileViTODE]
MODELS = ['ssdlite_mobileode_mini', 'ssdlite_mobileode_full_mini', 'peers/ssdlite_mobilenetv2_mini',
          'rtmdet_mobileode_mini', 'deeplabv3_mobileode_mini', 'classify_mobileode_v2_mini']
SIZE = 64


def flat(outputs):
    """All tensors of nested outputs."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in flat(part)]


def assert_same(outputs, expected, limit=1e-10):
    """In float64, where a deep network's enlarged roundings hide nothing; ``limit`` is a share of the scale."""
    outputs, expected = flat(outputs), flat(expected)
    assert len(outputs) == len(expected)
    for output, wanted in zip(outputs, expected):
        assert output.shape == wanted.shape and wanted.std() > 0
        torch.testing.assert_close(output, wanted, rtol=0, atol=limit * float(wanted.abs().max()))


def small(cls, **kwargs):
    kwargs = dict(widen_factor=0.25, out_indices=(2, 4, 5), **kwargs)
    if cls is not MobileNetV1:
        kwargs.setdefault('input_size', SIZE)
    if cls is MobileViTODE:
        kwargs.update(num_steps=3, out_indices=(2, 5, 6))
    return cls(**kwargs)


def trained(network, size=SIZE):
    """In eval mode, with the statistics and affine numbers of a trained one."""
    torch.manual_seed(0)
    network = revert_sync_batchnorm(network)
    # Large enough that no variance is one of a few values: near zero it would enlarge every rounding.
    calibrate_norms(network, lambda: network(torch.randn(8, 3, 2 * size, 2 * size)))
    return network.eval()


def switched(network, input_size=None):
    deployed = copy.deepcopy(network)
    deployed.switch_to_deploy(input_size)
    return deployed


def from_config(name):
    cfg = load_config(CONFIGS / f'{name}.py')
    cfg.model.backbone.pop('init_cfg', None)
    if 'mobileode' in name:
        cfg.model.backbone.widen_factor = 0.25
    with config_scope(cfg):
        torch.manual_seed(0)
        return revert_sync_batchnorm(build_model(cfg))


@pytest.fixture(scope='module', params=MODELS)
def model(request):
    """A toolbox's whole model, its name and images for it."""
    network = from_config(request.param)
    calibrate_norms(network, lambda: network(torch.randn(4, 3, 320, 320), mode='tensor'))
    return network.eval().double(), request.param, torch.randn(2, 3, 96, 96).double()


@torch.no_grad()
@pytest.mark.parametrize('name', mobileode_mm.list_models())
def test_every_registered_model_keeps_its_outputs(name):
    size = 32 if name.endswith('cifar') else SIZE
    network = trained(mobileode_mm.create_model(name, num_classes=7), size)
    x = torch.randn(2, 3, size, size)
    exact = copy.deepcopy(network).double()
    expected = exact(x.double())
    # An untrained network's own roundings in float32 may exceed 1e-5 of the scale; then they are the measure.
    limit = max(1e-5, 5 * float((network(x) - expected).abs().max() / expected.abs().max()))
    for input_size in (None, size):
        assert_same(switched(exact, input_size)(x.double()), expected)
        assert_same(switched(network, input_size)(x).double(), expected, limit)
    whole = nn.Sequential(exact)
    for module in whole.modules():  # as converters of RepVGG's kind do it
        if hasattr(module, 'switch_to_deploy'):
            module.switch_to_deploy()
    assert_same(whole(x.double()), expected)


@torch.no_grad()
@pytest.mark.parametrize('cls', BACKBONES)
@pytest.mark.parametrize('size', [(64, 64), (33, 70)])
def test_images_of_another_size_than_the_training(cls, size):
    network = trained(small(cls)).double()
    x = torch.randn(2, 3, *size).double()
    expected = network(x)
    assert_same(switched(network)(x), expected)
    assert_same(switched(network, size)(x), expected)


@torch.no_grad()
@pytest.mark.parametrize('kwargs', [
    dict(solver_norm='channel'), dict(num_steps=(1, 2, 3, 4)), dict(norm_cfg=dict(type='GN', num_groups=1)),
    dict(norm_cfg=None), dict(norm_cfg=dict(type='BN', affine=False)),
    dict(expand_gain=0.5, expand_init=0.3), dict(conv_cfg=dict(type='ConvWS')), dict(conv_cfg=dict(type='ConvAWS')),
    dict(act_cfg=dict(type='SiLU'), strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4))], ids=str)
def test_options_of_the_backbone(kwargs):
    network = trained(small(MobileODEV2, **kwargs)).double()
    x = torch.randn(1, 3, SIZE, SIZE).double()
    assert_same(switched(network, SIZE)(x), network(x))


def test_batch_norms_without_statistics_are_refused_and_nothing_is_changed():
    network = small(MobileODEV1, norm_cfg=dict(type='BN', track_running_stats=False))
    before = str(network)
    with pytest.raises(RuntimeError, match='keeps no running statistics.*no deploy form'):
        network.switch_to_deploy()
    assert str(network) == before and network.training and not network.deploy


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('backend', ['auto', 'reference'])
@pytest.mark.parametrize('solver', SOLVERS)
@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('widths', [(16, 16), (9, 36), (36, 9)])
def test_one_solver(widths, norm, solver, backend, dtype):
    torch.manual_seed(0)
    cos = ChannelwiseODESolver(*widths, grid_size=(5, 4), norm=norm, solver=solver, backend=backend).to(dtype)
    calibrate_norms(cos, lambda: cos(torch.randn(4, widths[0], 5, 4, dtype=dtype)))
    cos.delta_t.data[0] = 0.1  # under 1/L: clamped
    x = torch.randn(2, widths[0], 5, 4, dtype=dtype)
    cos.eval()
    for deployed in (DeployedODESolver(cos), DeployedODESolver(cos, (5, 4))):
        torch.testing.assert_close(deployed(x), cos(x), rtol=1e-5, atol=1e-5)
        assert not list(deployed.parameters())


def test_a_solver_for_one_size_refuses_others():
    deployed = DeployedODESolver(ChannelwiseODESolver(16, 16, grid_size=8).eval(), (4, 6))
    with pytest.raises(ValueError, match=r'maps of \(4, 6\).*\(6, 4\)'):
        deployed(torch.randn(1, 16, 6, 4))


@torch.no_grad()
def test_gradients_flow_to_the_image():
    """Operators take over from the compiled kernel, which has no gradient."""
    deployed = switched(trained(small(MobileODEV1)))
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.enable_grad():
        outputs = deployed(x.requires_grad_())
        outputs[-1].sum().backward()
    assert x.grad.abs().sum() > 0
    assert_same(deployed(x.detach()), [output.detach() for output in outputs], 1e-5)


@torch.no_grad()
def test_whole_models_keep_their_outputs(model):
    network, _, x = model
    expected = network(x, mode='tensor')
    for size in (None, (96, 96)):
        deployed = switched(network, size)
        assert not any(isinstance(part, (_BatchNorm, PositionNorm, ChannelwiseODESolver))
                       for part in deployed.modules())
        assert_same(deployed(x, mode='tensor'), expected)


def test_training_is_refused_and_a_second_call_changes_nothing(model):
    deployed = switched(model[0])
    before = {name: id(module) for name, module in deployed.named_modules()}
    deployed.switch_to_deploy(48)
    assert {name: id(module) for name, module in deployed.named_modules()} == before
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    for part in (deployed, deployed.backbone):
        if hasattr(part, 'deploy'):
            with pytest.raises(RuntimeError, match='deploy form, which cannot train'):
                part.train()
    assert deployed.eval() is deployed and not deployed.training


@torch.no_grad()
@pytest.mark.parametrize('input_size', [None, (96, 96)])
def test_state_dict_goes_round(model, input_size):
    network, name, x = model
    deployed = switched(network, input_size)
    fresh = from_config(name).double()
    fresh.switch_to_deploy(input_size)
    fresh.load_state_dict(deployed.state_dict())
    for one, other in zip(flat(fresh(x, mode='tensor')), flat(deployed(x, mode='tensor'))):
        assert torch.equal(one, other)


def test_a_backbone_inside_another_module_refuses_training_too():
    network = nn.Sequential(switched(trained(small(MobileODEV1))))
    network.eval()
    with pytest.raises(RuntimeError, match='MobileODEV1'):
        network.train()
