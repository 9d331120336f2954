"""Training in which maps and weights are rounded as in int8."""
import pytest
import torch
from mmengine.runner import Runner

import mobileode_mm.engine  # noqa: F401 (registers the hook)


@pytest.mark.parametrize('counts', [1, 2])
def test_layers_compute_with_rounded_numbers_and_keep_exact_weights(toy, tmp_path, counts):
    config = toy.toy_config(tmp_path, epochs=1, hooks=[dict(type='QuantisationAwareHook')])
    config['optim_wrapper']['accumulative_counts'] = counts
    runner = Runner(**config)
    first, _, last = runner.model.layers
    seen = dict(train=[], val=[])

    def look(layer, args, output):
        mode = 'train' if layer.training else 'val'
        seen[mode].append((layer.weight.detach().clone(), args[0].detach().clone()))

    hooked = []

    def after_the_others(*_):
        # Registered when training has begun, behind the hook's own: it sees what the layer computes with.
        if not hooked:
            hooked.append(last.register_forward_hook(look))

    first.register_forward_pre_hook(after_the_others)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    state = runner.model.state_dict()
    assert state.keys() == before.keys() and any(not torch.equal(state[name], before[name]) for name in state)
    assert len(seen['train']) == 8 and seen['val']
    for weight, x in seen['train']:
        steps = weight / (weight.abs().amax(1, keepdim=True) / 127)
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
        assert len(x.unique()) <= 256
    steps = last.weight / (last.weight.abs().amax(1, keepdim=True) / 127)
    assert (steps - steps.round()).abs().max() > 0.01
    assert all(torch.equal(weight, last.weight) for weight, _ in seen['val'])
