"""Every backbone: what it declares is what it does, and the mmpretrain habits hold."""

import subprocess
import sys

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.backbones import MobileNetV1, MobileODEV1, MobileODEV2, MobileViTODE, feature_channels
from mobileode_mm.ode import ChannelwiseODESolver, PositionNorm

BACKBONES = [MobileODEV1, MobileODEV2, MobileNetV1, MobileViTODE]
#: Stages with the stem; the hybrid closes with one more.
STAGES = {MobileViTODE: 7}
CIFAR = dict(strides=(1, 1, 1, 2, 2, 2))
OUTPUT_STRIDE_8 = dict(strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4))
OUTPUT_STRIDE_16 = dict(strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2))


def small(cls, **kwargs):
    """A quarter of the width, with grids of a 64 px image."""
    kwargs.setdefault('widen_factor', 0.25)
    if cls is not MobileNetV1:
        kwargs.setdefault('input_size', 64)
    if cls is MobileViTODE:
        kwargs = dict(num_steps=2, dropout=0.0, **kwargs)
    return cls(**kwargs)


@pytest.mark.parametrize('size', [(64, 64), (33, 70)])
@pytest.mark.parametrize('layout', [{}, CIFAR, OUTPUT_STRIDE_8, OUTPUT_STRIDE_16], ids=['32', 'cifar', 'os8', 'os16'])
@pytest.mark.parametrize('cls', BACKBONES)
def test_declared_channels_and_strides_are_real(cls, layout, size):
    torch.manual_seed(0)
    stages = STAGES.get(cls, 6)
    backbone = small(cls, out_indices=range(stages), **layout)
    x = torch.randn(2, 3, *size)
    outputs = backbone(x)
    assert len(outputs) == stages
    for output, channels, stride in zip(outputs, backbone.out_channels, backbone.strides):
        assert output.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    picked = small(cls, out_indices=(-2, 3), **layout)
    assert picked.strides == (backbone.strides[-2], backbone.strides[3])
    assert feature_channels(picked) == (backbone.out_channels[-2], backbone.out_channels[3])


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('cls', BACKBONES)
def test_any_user_gets_the_fast_memory_layout(cls, deploy):
    """An ordinary batch runs as one in channels_last memory does, to the bit, and so do all maps after it."""
    torch.manual_seed(0)
    backbone = small(cls, out_indices=(1, 5)).eval()
    if deploy:
        backbone.switch_to_deploy()
    x, seen = torch.randn(1, 3, 64, 64), []
    backbone.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        outputs, expected = backbone(x), backbone(x.contiguous(memory_format=torch.channels_last))
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)
    assert outputs[0].is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))


@pytest.mark.parametrize('cls, kwargs, classes, expected', [
    (MobileODEV1, dict(input_size=32, **CIFAR), 10, 614_034),
    (MobileODEV1, dict(input_size=32, **CIFAR), 1000, 1_185_264),
    (MobileODEV1, dict(input_size=64), 10, 611_610),
    (MobileODEV2, dict(input_size=64), 10, 1_111_146),
    (MobileViTODE, dict(input_size=256), 10, 2_700_600),
])
def test_parameter_counts_of_the_release(cls, kwargs, classes, expected):
    backbone = cls(**kwargs)
    head = nn.Linear(backbone.out_channels[-1], classes)
    assert sum(p.numel() for module in (backbone, head) for p in module.parameters()) == expected


def test_mobilenetv1_has_the_papers_pointwise_parameters():
    convs = [m for m in MobileNetV1().modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert sum(conv.weight.numel() for conv in convs) == 3_139_584


@pytest.mark.parametrize('widen_factor', [0.1, 0.35, 0.5, 1.3])
@pytest.mark.parametrize('cls', BACKBONES)
def test_every_width_runs(cls, widen_factor):
    backbone = small(cls, widen_factor=widen_factor).eval()
    assert backbone(torch.randn(1, 3, 32, 32))[0].shape[1] == backbone.out_channels[0]


@pytest.mark.parametrize('cls', [MobileODEV1, MobileODEV2])
def test_steps_expansion_grids_and_norm_reach_the_solvers(cls):
    backbone = small(cls, num_steps=(1, 2, 3, 4), expand_ratio=9, input_size=(64, 96))
    solvers = [m for m in backbone.stage4.modules() if isinstance(m, ChannelwiseODESolver)]
    assert len(solvers) == 10 and {s.num_steps for s in solvers} == {3}
    assert {s.norm.grid_size for s in solvers} == {(4, 6)}
    assert solvers[0].out_channels == 9 * solvers[0].in_channels
    channel = small(cls, solver_norm='channel')
    assert not any(isinstance(m, PositionNorm) for m in channel.modules())
    assert channel(torch.randn(2, 3, 32, 32))[0].shape == (2, channel.out_channels[0], 1, 1)


def test_solver_arguments_reach_every_solver():
    torch.manual_seed(0)
    backbone = small(MobileODEV2, num_steps=2, solver='heun', solver_backend='reference', learnable_step=False,
                     resize_mode='bicubic')
    solvers = [m for m in backbone.modules() if isinstance(m, ChannelwiseODESolver)]
    assert len(solvers) == 16
    assert {(s.solver, s.backend, s.resize_mode) for s in solvers} == {('heun', 'reference', 'bicubic')}
    assert all(torch.equal(s.step_lengths(), torch.full((2, ), 0.5)) for s in solvers)
    released = small(MobileODEV2, num_steps=2)
    assert set(backbone.state_dict()) == set(released.state_dict())
    names = {name for name, _ in backbone.named_parameters()}
    assert not any('delta_t' in name for name in names) and any('matrices' in name for name in names)
    x = torch.randn(2, 3, 64, 64)
    backbone(x)[0].square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    with torch.no_grad():
        outputs = [small(MobileODEV2, num_steps=2, **kwargs).eval() for kwargs in (
            {}, dict(solver='rk4'), dict(resize_mode='nearest'), dict(resize_mode='bicubic'))]
        for other in outputs:
            other.load_state_dict(released.state_dict())
        outputs = [other(x)[0] for other in outputs]
    assert not any(torch.allclose(outputs[0], other, rtol=1e-3) for other in outputs[1:])


def test_options_of_the_expanding_solvers_reach_them_alone():
    torch.manual_seed(0)
    released = small(MobileODEV2, widen_factor=0.5)
    torch.manual_seed(0)
    backbone = small(MobileODEV2, widen_factor=0.5, expand_gain=0.5, expand_init=0.3)
    for name, solver in backbone.named_modules():
        if isinstance(solver, ChannelwiseODESolver):
            expands = 'expand' in name
            assert expands == (solver.gain is not None) == (solver.side > solver.side_in)
            assert solver.matrices.std().item() == pytest.approx(0.3 if expands else 0.1, rel=0.4)
    added = set(backbone.state_dict()) - set(released.state_dict())
    assert len(added) == 8 and all(name.endswith('.expand.solver.gain') for name in added)
    assert set(released.state_dict()) < set(backbone.state_dict())


@pytest.mark.parametrize('cls', BACKBONES)
def test_traded_stride_computes_the_strided_networks_values(cls):
    """À trous: at output stride 8, every fourth position is the output-stride-32 network's, borders apart."""
    kwargs = dict(solver_norm='channel') if cls is not MobileNetV1 else {}
    if cls is MobileViTODE:  # its last block attends to all positions, of which a denser map has more
        kwargs['out_indices'] = (4, )
    strided = small(cls, **kwargs).eval()
    dilated = small(cls, **OUTPUT_STRIDE_8, **kwargs).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        expected, dense = strided(x)[0], dilated(x)[0]
    assert dense.shape[-1] == 32
    step = dense.shape[-1] // expected.shape[-1]
    assert step == (2 if cls is MobileViTODE else 4)
    torch.testing.assert_close(dense[..., ::step, ::step], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('cls', BACKBONES)
def test_what_trains_is_what_the_outputs_need(cls):
    """Processes that train together wait for the gradient of each parameter that has one."""
    backbone = small(cls, out_indices=(3, 1)).train()
    sum(output.sum() for output in backbone(torch.rand(2, 3, 32, 32))).backward()
    names = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert names == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert {name.split('.')[0] for name in names} == {'stem', 'stage1', 'stage2', 'stage3'}


@pytest.mark.parametrize('cls', BACKBONES)
def test_frozen_stages_and_norm_eval(cls):
    backbone = small(cls, frozen_stages=2).train()
    frozen = [backbone.stem, backbone.stage1, backbone.stage2]
    assert not any(p.requires_grad for stage in frozen for p in stage.parameters())
    assert not any(m.training for stage in frozen for m in stage.modules())
    assert all(p.requires_grad for p in backbone.stage3.parameters()) and backbone.stage3.training
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 64))[0].sum().backward()
    changed = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(name.startswith(('stage3', 'stage4', 'stage5', 'stage6')) for name in changed)

    backbone = small(cls, norm_eval=True).train()
    norms = [m for m in backbone.modules() if isinstance(m, (_BatchNorm, PositionNorm))]
    assert norms and not any(m.training for m in norms)
    assert backbone.training and backbone.stage5.training
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


@pytest.mark.parametrize('cls', BACKBONES)
def test_with_cp_gives_the_same_outputs_and_gradients(cls):
    torch.manual_seed(0)
    plain = small(cls, out_indices=(3, 5))
    saving = small(cls, out_indices=(3, 5), with_cp=True)
    saving.load_state_dict(plain.state_dict())
    gradients = []
    for backbone in (plain, saving):
        x = torch.linspace(-1, 1, 2 * 3 * 48 * 48).view(2, 3, 48, 48).requires_grad_()
        outputs = backbone(x)
        sum(output.square().mean() for output in outputs).backward()
        gradients.append([*outputs, x.grad, *(p.grad for p in backbone.parameters())])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('cls', BACKBONES)
def test_norm_cfg_act_cfg_and_init_cfg(cls):
    backbone = small(cls, widen_factor=0.5, norm_cfg=dict(type='GN', num_groups=1), act_cfg=dict(type='SiLU'))
    assert any(isinstance(m, nn.GroupNorm) for m in backbone.modules())
    assert not any(isinstance(m, _BatchNorm) for m in backbone.modules())
    assert any(isinstance(m, nn.SiLU) for m in backbone.modules())
    backbone = small(cls, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    backbone.init_weights()
    assert (backbone.stage3[0].depthwise_conv.conv.weight == 0.5).all()


def test_init_weights_keeps_the_solvers_released_distribution():
    torch.manual_seed(0)
    backbone = MobileODEV1(input_size=64)
    backbone.init_weights()
    solvers = [m for m in backbone.modules() if isinstance(m, ChannelwiseODESolver)]
    matrices = torch.cat([s.matrices.flatten() for s in solvers]).detach()
    deltas = torch.cat([s.delta_t for s in solvers]).detach()
    assert abs(matrices.std() - 0.1) < 0.005 and abs(matrices.mean()) < 0.005
    assert abs(deltas.mean() - 0.4) < 0.005 and 0.002 < deltas.std() < 0.01


@pytest.mark.parametrize('cls', BACKBONES)
def test_found_in_the_root_registry_and_scripts_out(cls):
    assert MODELS.get(cls.__name__) is cls
    few = dict(num_steps=1) if cls is MobileViTODE else {}
    backbone = MODELS.build(dict(type=cls.__name__, widen_factor=0.25, **few)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        exported = torch.export.export(backbone, (x, )).module()
        torch.testing.assert_close(exported(x), backbone(x))


@pytest.mark.parametrize('cls', BACKBONES)
def test_one_number_is_one_stage(cls):
    one, several = small(cls, out_indices=-1), small(cls, out_indices=(-1, ))
    assert one.out_indices == several.out_indices == (STAGES.get(cls, 6) - 1, )


@pytest.mark.parametrize('cls, kwargs', [*((cls, {}) for cls in BACKBONES), (MobileODEV1, dict(solver_norm='channel')),
                                         (MobileODEV1, dict(anytime=dict(steps=(1, 3))))])
@pytest.mark.parametrize('deploy', [False, True])
def test_mmengine_counts_and_prints(cls, kwargs, deploy):
    """As the toolboxes' get_flops.py does."""
    backbone = small(cls, **kwargs).eval()
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    if deploy:
        backbone.switch_to_deploy()
    found = get_model_complexity_info(backbone, (3, 64, 64))
    assert 'stage3' in found['out_arch'] and 0 < found['params'] <= parameters


@pytest.mark.parametrize('cls', BACKBONES)
@pytest.mark.parametrize('solver_norm', ['position', 'channel'])
def test_mmengine_s_optimizers_know_every_norm(cls, solver_norm):
    backbone = small(cls, **({} if cls is MobileNetV1 else dict(solver_norm=solver_norm)))
    norms = {parameter for module in backbone.modules() if isinstance(module, (_BatchNorm, nn.LayerNorm, PositionNorm))
             for parameter in module.parameters()}
    cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1, weight_decay=1),
               paramwise_cfg=dict(norm_decay_mult=0, bias_lr_mult=2))
    for group in build_optim_wrapper(backbone, cfg).optimizer.param_groups:
        parameter, = group['params']
        assert group['weight_decay'] == (0 if parameter in norms else 1)
        assert group['lr'] == 1 or parameter not in norms


@pytest.mark.parametrize('least', [1, 200])
def test_feature_channels_measures_a_foreign_backbone(least):
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7)

        def forward(self, x):
            assert x.shape[-1] >= least, 'as Swin and TinyViT'
            x = self.norm(self.conv(x))
            return x, torch.cat([x, x], 1)

    foreign = Foreign().train()
    foreign.norm.eval()
    state = torch.get_rng_state()
    assert feature_channels(foreign) == (7, 14)
    assert foreign.training and not foreign.norm.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_hybrid_s_steps_dropout_and_odd_maps():
    torch.manual_seed(0)
    backbone = small(MobileViTODE, out_indices=(5, 6))
    assert backbone.out_channels == (40, 160) and backbone.strides == (32, 32)
    released = MobileViTODE()
    for stage, steps in ((released.stage2, 60), (released.stage3, 30), (released.stage4, 20)):
        assert {m.num_steps for m in stage.modules() if isinstance(m, ChannelwiseODESolver)} == {steps}
    assert {m.p for m in released.modules() if isinstance(m, nn.Dropout)} == {0.1}
    # Maps of 1×1 and 3×5 are resized for patches of 2×2.
    for size, expected in (((32, 32), (1, 1)), ((96, 160), (3, 5))):
        assert all(output.shape[2:] == expected and output.isfinite().all()
                   for output in backbone.eval()(torch.randn(2, 3, *size)))
    torch.manual_seed(0)
    backbone.init_weights()
    linear = backbone.stage5[1].transformer[0].expand
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1) and not linear.bias.any()
    with pytest.raises(ValueError, match='4 entries; legal: one number, or 3'):
        MobileViTODE(num_steps=(3, 3, 3, 3))
    with pytest.raises(ValueError, match='legal: 0 to 6'):
        MobileViTODE(out_indices=(7, ))


@pytest.mark.parametrize('kwargs, words', [
    (dict(widen_factor=0), ['widen_factor=0']),
    (dict(num_steps=(3, 3)), ['num_steps=(3, 3)', '4']),
    (dict(num_steps=0), ['num_steps=0', '1']),
    (dict(num_steps=2.5), ['num_steps=2.5', 'no whole number']), (dict(input_size='64'), ["input_size='64'"]),
    (dict(expand_ratio=2), ['expand_ratio=2', '1 and 4']),
    (dict(out_indices=(6, )), ['out_indices=(6,)', '0 to 5']),
    (dict(out_indices=()), ['out_indices=()', '5']),
    (dict(frozen_stages=6), ['frozen_stages=6', '-1 to 5']),
    (dict(strides=(1, 2)), ['strides=(1, 2)', '6']),
    (dict(dilations=(0, ) * 6), ['dilations=', '1']),
    (dict(solver_norm='foo'), ["norm='foo'", "'position'"]),
    (dict(solver='foo'), ["solver='foo'", "'euler', 'midpoint', 'heun', 'rk4'"]),
    (dict(solver_backend='foo'), ["backend='foo'", "'auto', 'reference', 'triton'"]),
    (dict(resize_mode='foo'), ["resize_mode='foo'", "'bilinear', 'nearest', 'bicubic'"]),
    (dict(expand_gain=0.5), ['expand_gain=0.5', 'expand_ratio=1', 'None']),
    (dict(expand_init=0.1), ['expand_init=0.1', 'expand_ratio=1', 'None']),
    (dict(expand_ratio=4, expand_gain=-1), ['expand_gain=-1', '0 and more']),
])
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ValueError) as error:
        MobileODEV1(**kwargs)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_found_by_scope_and_name_without_an_import():
    """``type='mobileode_mm.MobileODEV1'`` imports the package by itself, from any toolbox's scope."""
    code = ("from mmengine.registry import MODELS, Registry\n"
            "toolbox = Registry('model', parent=MODELS, scope='toolbox')\n"
            "print(type(toolbox.build(dict(type='mobileode_mm.MobileODEV1', widen_factor=0.25))).__name__)\n")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['MobileODEV1'], done.stderr
