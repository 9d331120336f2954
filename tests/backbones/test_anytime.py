"""One network for several numbers of steps: for each it is the network of that number, with weights that all share."""

import copy

import pytest
import torch
from torch import nn

from mobileode_mm import create_model
from mobileode_mm.backbones import MobileODEV1, MobileODEV2, set_steps
from mobileode_mm.backbones.sync_norms import sync_norms
from mobileode_mm.checkpoints.matching import check_checkpoint
from mobileode_mm.errors import InputError

NUMBERS = (1, 2, 3)


def build(cls=MobileODEV1, **kwargs):
    torch.manual_seed(0)
    return cls(**{**dict(widen_factor=0.25, input_size=32, out_indices=(3, 5)), **kwargs})


def anytime(cls=MobileODEV1, **kwargs):
    """One whose statistics differ from number to number."""
    network = build(cls, anytime=dict(steps=NUMBERS), **kwargs)
    for name, value in network.named_buffers():
        if name.endswith('running_mean'):
            nn.init.normal_(value, std=0.1)
        elif name.endswith('running_var'):
            nn.init.uniform_(value, 0.5, 2)
    return network


def part_of(name, value, number):
    """Of an entry of the plain network of the largest number, what that of another number has."""
    return value[:number] if name.endswith(('solver.matrices', 'solver.delta_t')) else value


def state_for(network, number):
    """State dict of the plain network for a number of steps."""
    state, found = network.state_dict(), {}
    for name, value in state.items():
        if 'statistics' in name:
            continue
        module, _, entry = name.rpartition('.')
        block, _, last = module.rpartition('.')
        candidates = (f'{module}.statistics.{number}.{entry}', f'{block}.statistics.{number}.{entry}' * (last == 'bn'))
        found[name] = next((state[one] for one in candidates if one in state), part_of(name, value, number)).clone()
    return found


def maps_and_gradients(network, x):
    maps = network(x)
    maps = maps if isinstance(maps, tuple) else (maps, )
    sum(one.square().mean() for one in maps).backward()
    return [*maps, *(parameter.grad for parameter in network.parameters())]


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('cls, norm, backend, options', [
    (MobileODEV1, 'position', 'auto', {}), (MobileODEV1, 'position', 'operators', {}),
    (MobileODEV1, 'channel', 'auto', {}), (MobileODEV2, 'position', 'auto', {}),
    (MobileODEV1, 'channel', 'reference', {}), (MobileODEV2, 'position', 'auto', dict(expand_gain=0.5))])
def test_it_is_the_network_of_each_number(cls, norm, backend, options, training):
    """Maps, gradients, and the statistics after a training step."""
    how = dict(solver_norm=norm, solver_backend=backend, **options)
    network = anytime(cls, **how).train(training)
    torch.manual_seed(1)
    x = torch.randn(3, 3, 40, 32)
    for number in NUMBERS:
        network.set_steps(number)
        plain = build(cls, num_steps=number, **how).train(training)
        plain.load_state_dict(state_for(network, number))
        others = {name: value.clone() for name, value in network.state_dict().items()
                  if 'statistics' in name and f'.statistics.{number}.' not in name}
        network.zero_grad()
        found, expected = maps_and_gradients(network, x), maps_and_gradients(plain, x)
        names = [name for name, _ in network.named_parameters()]
        for name, one, other in zip(['', '', *names], found, expected, strict=True):
            torch.testing.assert_close(part_of(name, one, number), other, rtol=1e-4, atol=1e-5, msg=f'{number}, {name}')
        torch.testing.assert_close(state_for(network, number), plain.state_dict(), rtol=1e-4, atol=1e-5)
        # The other numbers' statistics stay as they are.
        assert all(torch.equal(network.state_dict()[name], value) for name, value in others.items())


def test_a_checkpoint_of_the_plain_network_starts_all_numbers():
    plain, network = build(), build(anytime=dict(steps=NUMBERS))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in network.parameters())
    nn.init.normal_(plain.stage4[1].project.solver.norm.running_mean)
    nn.init.normal_(plain.stage4[1].project.bn.running_mean)
    state = plain.state_dict()
    note, = check_checkpoint(network, state, 'plain.pth', 'finetune')
    assert '16 norms' in note
    network.load_state_dict(state)
    module = network.stage4[1].project
    for number in NUMBERS:
        network.set_steps(number)
        assert torch.equal(module.solver.norm.running().running_mean, module.solver.norm.running_mean)
    assert torch.equal(module.statistics['2'].running_mean, plain.stage4[1].project.bn.running_mean)
    network.set_steps(3)
    x = torch.randn(1, 3, 32, 32)
    assert all(map(torch.equal, network.eval()(x), plain.eval()(x)))
    # To predict with fewer steps it has to be trained for them.
    with pytest.raises(InputError, match='64 missing: .*statistics'):
        check_checkpoint(network, state, 'plain.pth', 'test')


def test_its_own_checkpoint_goes_round_whatever_is_taken():
    network = anytime()
    network.set_steps(1)
    state, other = network.state_dict(), build(anytime=dict(steps=NUMBERS, take=2), input_size=64)
    # Whose training was without the hook.
    note, = check_checkpoint(other, state, 'own.pth', 'test')
    assert note == 'own.pth: no iteration of its training took 1, 2 steps; was it without AnytimeHook?'
    network.train()(torch.randn(2, 3, 32, 32))
    network.set_steps(2)
    network(torch.randn(2, 3, 32, 32))
    # Grids are resampled, those of all numbers.
    assert check_checkpoint(other, state, 'own.pth', 'test') == []
    other.load_state_dict(state)
    same = build(anytime=dict(steps=NUMBERS))
    same.load_state_dict(state)
    network.set_steps(2)
    same.set_steps(2)
    x = torch.randn(1, 3, 32, 32)
    assert all(map(torch.equal, network.eval()(x), same.eval()(x)))
    mean = other.stage3[1].project.solver.norm.statistics['2'].running_mean
    assert mean.shape == (8, 8) and other.num_steps == (2, 2, 2, 2)
    torch.testing.assert_close(mean.mean(), same.stage3[1].project.solver.norm.statistics['2'].running_mean.mean())


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('steps', [1, (3, 1, 2, 1)])
def test_deploy_form(norm, steps):
    network = anytime(MobileODEV2, solver_norm=norm).eval()
    network.set_steps(steps)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
    deployed = copy.deepcopy(network)
    deployed.switch_to_deploy(32)
    with torch.no_grad():
        torch.testing.assert_close(deployed(x), expected, rtol=1e-4, atol=1e-5)
    if steps == 1:  # to the bit that of a network for one step: a product, its norm and a sum in each solver
        plain = build(MobileODEV2, num_steps=1, solver_norm=norm).eval()
        plain.load_state_dict(state_for(network, 1))
        plain.switch_to_deploy(32)
        torch.testing.assert_close(deployed.state_dict(), plain.state_dict(), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match='before switch_to_deploy'):
        deployed.set_steps(2)


def test_compiled():
    torch._dynamo.reset()
    block = anytime(MobileODEV2).stage2[1].train()
    compiled = copy.deepcopy(block)
    compiled.forward = torch.compile(compiled.forward, backend='eager', fullgraph=True)
    x = torch.randn(2, 9, 8, 8)
    for number in (3, 1):
        for one in (block, compiled):
            one.zero_grad()
            one.expand.set_steps(number)
            one.project.set_steps(number)
        found, expected = (maps_and_gradients(one, x) for one in (compiled, block))
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(compiled.state_dict(), block.state_dict())


def test_checkpointing_and_half_precision():
    network, stored = anytime(with_cp=True).train(), anytime().train()
    x = torch.randn(2, 3, 32, 32)
    for one in (network, stored):
        one.set_steps((1, 3, 2, 1))
    found, expected = (maps_and_gradients(one, x.clone().requires_grad_()) for one in (network, stored))
    torch.testing.assert_close(found, expected)
    with torch.autocast('cpu', torch.bfloat16):
        assert all(one.isfinite().all() for one in network(x))


def test_whole_networks_pass_it_on():
    model = create_model('mobileode_v1', num_classes=3, widen_factor=0.25, input_size=32, anytime=dict(steps=(1, 3)))
    model.set_steps((1, 3, 3, 1))
    assert model.backbone.num_steps == (1, 3, 3, 1)
    set_steps(nn.Sequential(nn.ReLU(), model), 3)
    assert model.backbone.num_steps == (3, 3, 3, 3)


@pytest.mark.parametrize('given, words', [
    (dict(), ['steps is wanted']),
    (dict(steps=NUMBERS, sample='all'), ["'sample'", 'take']),
    (dict(steps=(3, )), ['two or more different']),
    (dict(steps=(0, 3)), ['1 or more']),
    (dict(steps=(1, 1, 3)), ['different']),
    (dict(steps=3), ['two or more']),
    (dict(steps=(1, 2)), ['(1, 2)', 'num_steps']),
    (dict(steps=NUMBERS, distill=1), ['distill=1', 'True, False']),
])
def test_what_the_config_may_say(given, words):
    with pytest.raises(ValueError) as error:
        build(anytime=given)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize('network, steps, words', [
    (lambda: anytime(), 4, ['not trained for 4', '1, 2, 3']),
    (lambda: anytime(), (1, 2), ['2 numbers', '4 stages']),
    (lambda: anytime(), (1, 2, 3, 9), ['not trained for 9']),
    (lambda: build(), 1, ['MobileODEV1', 'anytime']),
    (lambda: nn.Sequential(build()), 1, ['Sequential', 'anytime']),
])
def test_a_choice_that_there_is_not(network, steps, words):
    with pytest.raises(InputError) as error:
        set_steps(network(), steps)
    assert all(word in str(error.value) for word in words)


def test_synchronised_norms():
    position = sync_norms(anytime(norm_cfg=dict(type='SyncBN')), 'cpu')
    position.set_steps(1)
    assert all(one.isfinite().all() for one in position.train()(torch.randn(2, 3, 32, 32)))
    channel = sync_norms(anytime(norm_cfg=dict(type='SyncBN'), solver_norm='channel'), 'cpu')
    with pytest.raises(RuntimeError, match="solver_norm='position'"):
        channel.set_steps(1)
    channel.switch_to_deploy(32)  # of the largest number
    assert all(one.isfinite().all() for one in channel(torch.randn(1, 3, 32, 32)))
