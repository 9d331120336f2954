"""Networks by name, as a library user takes them: plain PyTorch, no config."""

import copy
import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mobileode_mm.zoo
from mobileode_mm import MobileNetV1, MobileODEV1, MobileODEV2, create_model, list_models
from mobileode_mm.checkpoints.released import convert_cvnets_file
from mobileode_mm.errors import InputError
from mobileode_mm.ode import PositionNorm

DATA = Path(__file__).parent / 'fixtures'
PAGE = Path(__file__).parents[1] / 'docs' / 'swap.md'
# What the fixtures' networks have beside their name.
RELEASED = dict(num_classes=10, input_size=64, act_cfg=dict(type='ReLU'))


@pytest.fixture(scope='module', params=[1, 2])
def released(request, tmp_path_factory):
    """Name, converted checkpoint and numbers of a released network."""
    file = np.load(DATA / f'mobilenetv{request.param}_ode_64px.npz')
    state = {key[6:]: torch.from_numpy(file[key]) for key in file.files if key.startswith('state/')}
    folder = tmp_path_factory.mktemp('released')
    torch.save(state, folder / 'released.pt')
    convert_cvnets_file(folder / 'released.pt', folder / 'converted.pth')
    return f'mobileode_v{request.param}', folder / 'converted.pth', file


def as_dict(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_list_models():
    names = list_models()
    assert {'mobileode_v1', 'mobileode_v2', 'mobilenet_v1', 'mobileode_v1_cifar', 'mobileode_v2_cifar',
            'mobilenet_v1_cifar'} <= set(names)
    assert names == sorted(set(names))
    assert list_models('ode') == [name for name in names if 'ode' in name]
    assert list_models('v2*cifar') == ['mobileode_v2_cifar']
    assert list_models('resnet') == []


@pytest.mark.parametrize('name', list_models())
def test_every_name_builds_and_runs_at_two_sizes(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7).eval()
    for size in [(32, 32), (40, 56)]:
        with torch.no_grad():
            logits = model(torch.randn(2, 3, *size))
        assert logits.shape == (2, 7) and logits.isfinite().all()


@pytest.mark.parametrize('name, kwargs, expected', [
    ('mobileode_v1_cifar', dict(num_classes=10), 614_034),
    ('mobileode_v1_cifar', {}, 1_185_264),
    ('mobileode_v1', dict(num_classes=10, input_size=64), 611_610),
    ('mobileode_v2', dict(num_classes=10, input_size=64), 1_111_146),
])
def test_parameter_counts_of_the_release(name, kwargs, expected):
    assert sum(p.numel() for p in create_model(name, **kwargs).parameters()) == expected


def test_settings_of_the_release():
    large, cifar = create_model('mobileode_v1').backbone, create_model('mobileode_v1_cifar').backbone
    assert (type(large), type(cifar)) == (MobileODEV1, MobileODEV1)
    assert (large.strides, cifar.strides) == ((32, ), (8, ))
    assert isinstance(large.stem.activate, torch.nn.SiLU) and isinstance(cifar.stem.activate, torch.nn.ReLU)
    for backbone in (large, cifar):
        assert {m.grid_size for m in backbone.stage4.modules() if isinstance(m, PositionNorm)} \
            == {(16, 16) if backbone is large else (8, 8)}
    assert type(create_model('mobileode_v2').backbone) is MobileODEV2
    assert type(create_model('mobilenet_v1').backbone) is MobileNetV1
    assert create_model('mobileode_v1').head.dropout.p == 0.1


def test_converted_weights_give_the_released_logits(released):
    name, path, file = released
    model = create_model(name, pretrained=path, **RELEASED).eval()
    without_head = create_model(name, pretrained=path, **dict(RELEASED, num_classes=0)).eval()
    backbone = create_model(name, pretrained=path, features_only=True, **RELEASED).eval()
    x = torch.from_numpy(file['x'])
    with torch.no_grad():
        logits, pooled, maps = model(x), without_head(x), backbone(x)
    assert (logits - torch.from_numpy(file['logits'])).abs().max() < 1e-4
    assert (pooled - torch.from_numpy(file['feat/layer_5']).mean((2, 3))).abs().max() < 1e-4
    assert len(maps) == 5
    for number, feature in enumerate(maps, start=1):
        assert (feature - torch.from_numpy(file[f'feat/layer_{number}'])).abs().max() < 1e-4


def test_grids_of_another_image_size_are_resampled(released):
    name, path, file = released
    model = create_model(name, pretrained=path, **dict(RELEASED, input_size=128)).eval()
    mean, trained = (m['backbone.stage4.3.project.solver.norm.running_mean']
                     for m in (model.state_dict(), torch.load(path, weights_only=True)['state_dict']))
    assert trained.shape == (4, 4)
    expected = F.interpolate(trained[None, None], (8, 8), mode='bilinear', align_corners=False)[0, 0]
    torch.testing.assert_close(mean, expected)
    # Everything else is as it was.
    same = create_model(name, pretrained=path, **RELEASED)
    for (entry, a), b in zip(model.state_dict().items(), same.state_dict().values()):
        assert '.solver.norm.' in entry or torch.equal(a, b), entry


def test_state_dict_is_that_of_mmpretrains_classifier():
    from mmengine.registry import MODELS, DefaultScope
    from mmpretrain.models.classifiers import ImageClassifier
    model = create_model('mobileode_v1', num_classes=10, widen_factor=0.25)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = MODELS.build(dict(
            type='ImageClassifier', backbone=dict(type='MobileODEV1', widen_factor=0.25, act_cfg=dict(type='SiLU')),
            neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=10, in_channels=36)))
    assert isinstance(theirs, ImageClassifier)
    theirs.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(x), model.eval()(x))


def test_checkpoints_of_other_tasks_and_of_parallel_training_serve_too(tmp_path):
    small = dict(widen_factor=0.25)
    source = create_model('mobileode_v2', num_classes=3, **small)
    state = as_dict(source)
    torch.save(dict(state_dict={f'module.{k}': v for k, v in state.items()}, meta={}), tmp_path / 'parallel.pth')
    loaded = create_model('mobileode_v2', tmp_path / 'parallel.pth', num_classes=3, **small)
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    detector = {**{k: v for k, v in state.items() if k.startswith('backbone.')}, 'bbox_head.weight': torch.ones(3)}
    torch.save(dict(state_dict=detector), tmp_path / 'detector.pth')
    backbone = create_model('mobileode_v2', str(tmp_path / 'detector.pth'), features_only=True, **small)
    assert all(torch.equal(value, state[f'backbone.{name}']) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize('there, here', [('channel', 'position'), ('position', 'channel')])
def test_a_norm_of_the_other_kind_is_refused(tmp_path, there, here):
    """Every width is a square, and a channel norm's entries could pass for a square grid."""
    torch.save(as_dict(create_model('mobileode_v1', solver_norm=there)), tmp_path / 'other.pth')
    with pytest.raises(InputError, match='solver.norm.weight'):
        create_model('mobileode_v1', tmp_path / 'other.pth', solver_norm=here)


def damaged(state, share):
    """Without this share of its entries."""
    names = [name for name in state if not name.endswith('num_batches_tracked')]
    for name in names[:round(share * len(names))]:
        del state[name]
    return state


@pytest.mark.parametrize('change, kwargs, words', [
    (lambda state: state, dict(num_classes=4), ['3 classes', 'num_classes is 4', 'num_classes=3']),
    (lambda state: state, {}, ['num_classes is 1000']),
    (lambda state: state, dict(num_classes=3, widen_factor=0.5), ['another network', 'of another shape']),
    (lambda state: state, dict(num_classes=3, num_steps=4), ['another network', 'matrices']),
    (lambda state: damaged(state, 0.06), dict(num_classes=3), ['another network', 'missing', 'stem.conv.weight']),
    (lambda state: {'weight': torch.ones(2)}, dict(num_classes=3), ['another network', '0 of ']),
    (lambda state: {k: v for k, v in state.items() if k.startswith('backbone.')}, dict(num_classes=3),
     ['0 of 2', 'head']),
])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, change, kwargs, words):
    state = as_dict(create_model('mobileode_v1', num_classes=3, widen_factor=0.25))
    torch.save(dict(state_dict=change(state)), tmp_path / 'other.pth')
    with pytest.raises(InputError) as error:
        create_model('mobileode_v1', tmp_path / 'other.pth', **{'widen_factor': 0.25, **kwargs})
    assert all(word in str(error.value) for word in [*words, str(tmp_path / 'other.pth')])


def test_an_entry_that_is_missing_is_told(tmp_path, capfd):
    state = as_dict(create_model('mobileode_v1', num_classes=3, widen_factor=0.25))
    del state['backbone.stage3.1.depthwise.bn.weight']
    torch.save(state, tmp_path / 'almost.pth')
    model = create_model('mobileode_v1', tmp_path / 'almost.pth', 3, widen_factor=0.25)
    assert torch.equal(model.head.fc.weight, state['head.fc.weight'])
    assert 'stage3.1.depthwise.bn.weight' in ''.join(capfd.readouterr())


def test_files_that_are_no_checkpoint(tmp_path):
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    for name, words in [('text.pth', 'no checkpoint'), ('absent.pth', 'no checkpoint file')]:
        with pytest.raises(InputError, match=words):
            create_model('mobileode_v1', tmp_path / name)


@pytest.mark.parametrize('name, kwargs, words', [
    ('mobileode_v3', {}, ["'mobileode_v3'", 'mobileode_v1', 'mobileode_v2']),
    ('MobileODE_V1_cifr', {}, ['mobileode_v1_cifar']),
    ('resnet50', {}, ['nearest: ']),
    ('', {}, ['mobileode_v1', 'mobilenet_v1']),
    ('mobileode_v1', dict(pretrained=True), ['no weights are published', 'path']),
    ('mobileode_v1', dict(num_classes=-1), ['num_classes=-1', '0']),
    ('mobileode_v1', dict(out_indices=(3, )), ['features_only=True']),
    ('mobileode_v1', dict(features_only=True, out_indices=(6, )), ['out_indices=(6,)']),
    ('mobileode_v1', dict(widen_factor=0), ['widen_factor=0']),
])
def test_bad_arguments_are_named(name, kwargs, words):
    with pytest.raises(ValueError) as error:
        create_model(name, **kwargs)
    assert all(word in str(error.value) for word in words)


def test_features_only():
    backbone = create_model('mobileode_v2', features_only=True, out_indices=(2, -1), widen_factor=0.5)
    assert isinstance(backbone, MobileODEV2)
    outputs = backbone(torch.randn(2, 3, 64, 64))
    assert [output.shape[1:] for output in outputs] == [(36, 16, 16), (256, 2, 2)]
    assert create_model('mobileode_v1_cifar', features_only=True).strides == (1, 1, 2, 4, 8)


@pytest.mark.parametrize('name', ['mobileode_v1_cifar', 'mobileode_v2_cifar', 'mobilenet_v1_cifar'])
def test_plain_training_lowers_the_loss(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=4, widen_factor=0.25).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    labels = torch.arange(16) % 4
    x = torch.randn(16, 3, 16, 16) + labels.view(-1, 1, 1, 1)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_initial_values_are_those_of_the_configs():
    """Kaiming for convolutions as the backbones' init_weights has it, not torch's own default."""
    torch.manual_seed(0)
    plain = create_model('mobileode_v1')
    conv = plain.backbone.stage4[0].pointwise_conv.conv.weight
    assert conv.std().item() == pytest.approx((2 / conv.shape[0]) ** 0.5, rel=0.02)
    assert plain.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.02) and not plain.head.fc.bias.any()
    constant = create_model('mobileode_v1', widen_factor=0.25, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    assert (constant.backbone.stem.conv.weight == 0.5).all()


@pytest.mark.parametrize('name', ['mobileode_v1', 'mobilenet_v1'])
def test_export_and_copies(name):
    model = create_model(name, num_classes=5, widen_factor=0.25).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exported = torch.export.export(model, (x, )).module()
        torch.testing.assert_close(exported(x), model(x))
        torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


def test_the_examples_of_the_docstring_and_of_the_page(tmp_path, monkeypatch):
    failed, attempted = doctest.testmod(mobileode_mm.zoo)
    assert attempted >= 2 and not failed
    torch.save(create_model('mobileode_v1', num_classes=10).state_dict(), tmp_path / 'checkpoint.pth')
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    block, = (block for block in blocks if 'create_model' in block)
    names = {}
    exec(block, names)
    assert names['logits'].shape == (2, 1000)
    assert [m.shape[1:] for m in names['maps']] == [(256, 28, 28), (576, 14, 14), (576, 7, 7)]
