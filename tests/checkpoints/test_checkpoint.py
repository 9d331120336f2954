"""How much of a network a checkpoint must fit, and what may be in its file."""
import os

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from mobileode_mm.backbones import MobileODEV1
from mobileode_mm.checkpoints.matching import check_checkpoint, check_pretrained, read_checkpoint
from mobileode_mm.errors import InputError
from mobileode_mm.ode import PositionNorm


class Network(nn.Module):
    """A backbone of 100 entries, and a head of 20."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(50)))
        self.head = nn.Sequential(*(nn.Linear(2, 2) for _ in range(10)))


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


@pytest.fixture
def state():
    return Network().state_dict()


def check(state, purpose):
    return check_checkpoint(Network(), dict(state_dict=state), 'x.pth', purpose)


@pytest.mark.parametrize('purpose', ['finetune', 'test', 'resume'])
def test_a_fitting_one(state, purpose):
    assert check(state, purpose) == []


def test_names_of_a_parallel_wrapper_are_those_of_the_network(state, tmp_path):
    """Whoever reads them: what was compared is what is loaded."""
    network = Network()
    parallel = nn.DataParallel(network).state_dict()
    assert all(name.startswith('module.') for name in parallel)
    for saved in (parallel, dict(state_dict=parallel, meta=dict(epoch=1))):
        torch.save(saved, tmp_path / 'parallel.pth')
        read = read_checkpoint(tmp_path / 'parallel.pth')
        found = read.get('state_dict', read)
        assert found.keys() == state.keys() and found._metadata == network.state_dict()._metadata
        assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
        assert check(found, 'resume') == []
        assert saved is parallel or read['meta'] == dict(epoch=1)


@pytest.mark.parametrize('purpose', ['finetune', 'test'])
def test_95_of_100_entries_of_the_backbone_are_enough(state, purpose):
    lacking = without(state, *(f'backbone.{number}.bias' for number in range(4)))
    lacking['backbone.9.bias'] = torch.zeros(3)
    notes = check(lacking, purpose)
    assert 'x.pth does not match in all entries' in notes[0]
    assert notes[1] == '  4 missing: backbone.0.bias, backbone.1.bias, backbone.2.bias, backbone.3.bias'
    assert notes[2] == '  1 of another shape: backbone.9.bias (3,) instead of (2,)'

    lacking['extra'] = torch.zeros(1)
    del lacking['backbone.8.bias']
    with pytest.raises(InputError) as caught:
        check(lacking, purpose)
    assert str(caught.value).startswith('x.pth is a checkpoint of another network: 94 of 100 entries of backbone match')
    assert '1 unexpected: extra' in str(caught.value)


def test_head_may_differ_for_finetuning_only(state):
    other_head = {name: value for name, value in state.items() if name.startswith('backbone.')}
    assert '20 missing: head.0.weight' in check(other_head, 'finetune')[1]
    with pytest.raises(InputError, match='0 of 20 entries of head match'):
        check(other_head, 'test')


def test_a_run_is_resumed_on_the_same_network_only(state):
    for other in (without(state, 'backbone.7.weight'), {**state, 'extra': torch.zeros(1)}):
        with pytest.raises(InputError, match='another network than that of the config\n  1 (missing|unexpected): '):
            check(other, 'resume')


def test_grids_of_position_norms_may_differ():
    small = MobileODEV1(input_size=64).state_dict()
    large = nn.Module()
    large.backbone = MobileODEV1(input_size=128)
    grids = [name for name, module in large.named_modules() if isinstance(module, PositionNorm)]
    assert grids
    state = {f'backbone.{name}': value for name, value in small.items()}
    assert any(state[f'{name}.weight'].shape != large.state_dict()[f'{name}.weight'].shape for name in grids)
    for purpose in ('finetune', 'test'):
        assert check_checkpoint(large, dict(state_dict=state), 'x.pth', purpose) == []
    large.load_state_dict(state)
    with pytest.raises(InputError, match='of another shape: backbone'):  # the optimizer's state has the old grids
        check_checkpoint(large, dict(state_dict=state), 'x.pth', 'resume')


def test_pretrained_part(state, tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save(dict(state_dict=state), path)
    network = Network()
    network.backbone.init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone')
    assert check_pretrained(network) == [
        f'{path} into backbone: 100 loaded, 0 of them resampled, 0 missing, 0 unexpected, 0 of another shape']
    network.backbone.init_cfg = [dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint=path)]
    with pytest.raises(InputError, match='0 of 100 entries of backbone match'):
        check_pretrained(network)


def test_what_mmengine_writes_is_read(tmp_path, state):
    hub = MessageHub.get_instance('test_what_mmengine_writes_is_read')
    hub.update_scalar('train/loss', 1.5)
    hub.update_info('best_score', np.float64(0.5))
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=state, message_hub=hub.state_dict(), meta=dict(epoch=1, palette=np.eye(3))), path)
    checkpoint = read_checkpoint(path)
    assert checkpoint['message_hub']['log_scalars']['train/loss'].current() == 1.5
    assert checkpoint['meta']['palette'].tolist() == np.eye(3).tolist()


class Malicious:

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('item', [Malicious(os.mkdir, 'made'), Malicious(getattr, os.path, 'join')])
def test_code_in_a_file_is_not_run(item, tmp_path, state, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if item.reduced[0] is getattr:
        item = Malicious(getattr, Malicious, '__init__')
    torch.save(dict(state_dict=state, meta=item), 'x.pth')
    with pytest.raises(InputError, match='x.pth is not read: besides weights it holds'):
        read_checkpoint('x.pth')
    assert os.listdir() == ['x.pth']


@pytest.mark.parametrize('content', [dict(state_dict={}), dict(meta=1), [1, 2], torch.zeros(3)])
def test_no_weights(content, tmp_path):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(InputError, match='holds no weights$'):
        read_checkpoint(tmp_path / 'x.pth')


def test_weights_in_other_places(tmp_path, state):
    torch.save(dict(model_state_dict=state, epoch=3), tmp_path / 'x.pth')
    with pytest.raises(InputError, match="but under 'model_state_dict'; save those alone, as torch.save"):
        read_checkpoint(tmp_path / 'x.pth')
    network = torch.nn.Linear(2, 1)
    torch.save(network, tmp_path / 'whole.pth')
    with pytest.raises(InputError, match='--trust-checkpoint reads it all the same'):
        read_checkpoint(tmp_path / 'whole.pth')
    torch.testing.assert_close(dict(read_checkpoint(tmp_path / 'whole.pth', trust=True)), dict(network.state_dict()))
