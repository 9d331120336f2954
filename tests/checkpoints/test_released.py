"""Released weights under our names: blocks and whole networks give the released program's numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobileode_mm.backbones import MobileODEV1, MobileODEV2, ODEResidualBlock
from mobileode_mm.checkpoints.released import convert_cvnets_file, rename_cvnets_entries
from mobileode_mm.errors import InputError
from mobileode_mm.zoo import create_model

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'fixtures'
NETWORKS = {'MobileODEV1': MobileODEV1, 'MobileODEV2': MobileODEV2}


def raw_state(file, prefix='state/'):
    return {key[len(prefix):]: torch.from_numpy(file[key]) for key in file.files if key.startswith(prefix)}


@pytest.mark.parametrize('path', sorted(DATA.glob('block_*.npz')), ids=lambda p: p.stem)
def test_block_matches_the_release(path):
    file = np.load(path)
    channels, expansion, side, steps = (int(part.lstrip('CehwL')) for part in path.stem.split('_')[1:])
    block = ODEResidualBlock(channels, expansion, solver=dict(num_steps=steps, grid_size=side))
    block.load_state_dict(rename_cvnets_entries(raw_state(file)), strict=True)
    x = torch.from_numpy(file['x']).requires_grad_()
    with torch.no_grad():
        assert (block.eval()(x) - torch.from_numpy(file['y_eval'])).abs().max() < 1e-5
    y = block.train()(x)
    assert (y - torch.from_numpy(file['y_train'])).abs().max() < 1e-5
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    gradients = {'x': x.grad, **{name: p.grad for name, p in block.named_parameters()}}
    expected = {'x': torch.from_numpy(file['grad_x']), **rename_cvnets_entries(raw_state(file, 'grad/'))}
    assert set(gradients) == set(expected)
    for name, gradient in gradients.items():
        reference = expected[name].view(gradient.shape)
        assert (gradient - reference).abs().max() < 1e-4 * reference.abs().max(), name
    for name, value in rename_cvnets_entries(raw_state(file, 'after_train/')).items():
        assert (block.state_dict()[name] - value).abs().max() < 1e-6, name


@pytest.mark.parametrize('version', [1, 2])
def test_network_matches_the_release_after_the_command(version, tmp_path):
    file = np.load(DATA / f'mobilenetv{version}_ode_64px.npz')
    torch.save(dict(model_state_dict=raw_state(file)), tmp_path / 'released.pt')
    command = [sys.executable, ROOT / 'tools/model_converters/cvnets_to_mobileode.py', tmp_path / 'released.pt',
               tmp_path / 'converted.pth']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'MobileODEV{version}' in done.stdout

    checkpoint = torch.load(tmp_path / 'converted.pth', weights_only=True)
    cfg = checkpoint['meta']['backbone']
    assert cfg == dict(type=f'MobileODEV{version}', num_steps=(3, 3, 3, 3), input_size=64)
    backbone = NETWORKS[cfg.pop('type')](out_indices=range(6), **cfg).eval()
    state = checkpoint['state_dict']
    backbone.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith('backbone.')}, strict=True)
    head = nn.Linear(backbone.out_channels[-1], 10)
    head.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith('head.fc.')}, strict=True)
    with torch.no_grad():
        features = backbone(torch.from_numpy(file['x']))
        logits = head(features[-1].mean((2, 3)))
    for feature, name in zip(features, ['conv_1', *(f'layer_{i}' for i in range(1, 6))]):
        assert (feature - torch.from_numpy(file[f'feat/{name}'])).abs().max() < 1e-4, name
    assert (logits - torch.from_numpy(file['logits'])).abs().max() < 1e-4


def test_the_hybrid_matches_the_release(tmp_path):
    """Its fixture holds float16 values, with which the program computed in float32, and every 8th row and column."""
    file = np.load(DATA / 'mobilevit_ode_256px.npz')
    raw = {name: value.float() if value.is_floating_point() else value for name, value in raw_state(file).items()}
    torch.save(raw, tmp_path / 'released.pt')
    cfg = convert_cvnets_file(tmp_path / 'released.pt', tmp_path / 'converted.pth')
    assert cfg == dict(type='MobileViTODE', num_steps=(60, 30, 20), input_size=256)
    model = create_model('mobilevit_ode', tmp_path / 'converted.pth', num_classes=10, act_cfg=dict(type='ReLU')).eval()
    model.backbone.out_indices = tuple(range(7))
    with torch.no_grad():
        features = model.backbone(torch.from_numpy(file['x']).float())
        logits = model.head(features[-1].mean((2, 3)))
    for feature, name in zip(features, ['conv_1', *(f'layer_{i}' for i in range(1, 6)), 'conv_1x1_exp'], strict=True):
        expected = torch.from_numpy(file[f'feat/{name}'])
        step = feature.shape[-1] // expected.shape[-1]
        assert step == (1 if name in ('layer_5', 'conv_1x1_exp') else 8)
        assert (feature[..., ::step, ::step] - expected).abs().max() < 1e-4, name
    assert (logits - torch.from_numpy(file['logits'])).abs().max() < 1e-4
    # A detector's backbone is the same without the closing convolution.
    backbone = create_model('mobilevit_ode', tmp_path / 'converted.pth', features_only=True, out_indices=(4, 5),
                            act_cfg=dict(type='ReLU')).eval()
    assert not hasattr(backbone, 'stage6')
    with torch.no_grad():
        assert torch.equal(backbone(torch.from_numpy(file['x']).float())[-1], features[5])


@pytest.fixture(scope='module')
def released():
    return raw_state(np.load(DATA / 'mobilenetv1_ode_64px.npz'))


def damaged(state, **changes):
    state = {**state, **changes}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize('changes, words', [
    ({'layer_3.0.dw_conv.block.conv.weight': None}, ['missing stage3.0.depthwise_conv.conv.weight']),
    ({'extra.weight': torch.ones(1)}, ['unexpected extra.weight']),
    ({'conv_1.block.conv.weight': torch.ones(16, 3, 3, 3)}, ['stem.conv.weight is (16, 3, 3, 3)', '(32, 3, 3, 3)']),
    ({'layer_4.1.block.red_1x1.0.matrices': torch.ones(3, 1, 1, 12, 12)}, ['(3, 12, 12)', '(3, 24, 24)']),
    ({'layer_2.1.block.red_1x1.0.delta_t': None}, ['not a released MobileODE classifier', 'delta_t']),
])
def test_a_file_that_does_not_fit_is_refused(released, tmp_path, changes, words):
    torch.save(damaged(released, **changes), tmp_path / 'in.pt')
    with pytest.raises(InputError) as error:
        convert_cvnets_file(tmp_path / 'in.pt', tmp_path / 'out.pth')
    assert all(word in str(error.value) for word in [*words, str(tmp_path / 'in.pt')])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['in.pt']


def test_unreadable_foreign_and_existing_files(released, tmp_path):
    (tmp_path / 'text.pt').write_text('not a checkpoint')
    torch.save([1, 2], tmp_path / 'list.pt')
    torch.save(released, tmp_path / 'good.pt')
    (tmp_path / 'mine.pth').write_text('precious')
    for source, target, words in [('text.pt', 'out.pth', 'cannot be read'), ('list.pt', 'out.pth', 'no state dict'),
                                  ('absent.pt', 'out.pth', 'does not exist'), ('good.pt', 'mine.pth', 'exists'),
                                  ('good.pt', 'no/out.pth', 'folder')]:
        with pytest.raises(InputError, match=words):
            convert_cvnets_file(tmp_path / source, tmp_path / target)
    assert (tmp_path / 'mine.pth').read_text() == 'precious'
    command = [sys.executable, ROOT / 'tools/model_converters/cvnets_to_mobileode.py', tmp_path / 'text.pt', 'out.pth']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and 'Traceback' not in done.stderr
