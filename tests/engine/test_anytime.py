"""Training for several numbers of steps: which iteration takes which, and what a training leaves."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mobileode_mm.backbones import MobileODEV1
from mobileode_mm.engine import MobileODEDistributedDataParallel
from mobileode_mm.engine.anytime import steps_of
from mobileode_mm.errors import InputError


class Notes(Hook):
    """The steps of each iteration and of each validation, and the names of the losses."""

    priority = 'LOW'

    def __init__(self):
        self.taken, self.validated, self.losses = [], [], set()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.taken.append(runner.model.backbone.num_steps[0])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses |= outputs.keys()

    def before_val_epoch(self, runner):
        self.validated.append(runner.model.backbone.num_steps[0])


@pytest.fixture
def start(toy, tmp_path):
    """Makes a Runner that trains a narrow MobileODE on the toy's points, as images of one colour."""

    class Network(toy.ToyModel):

        def __init__(self, anytime):
            super().__init__()
            torch.manual_seed(0)
            self.backbone = MobileODEV1(widen_factor=0.125, input_size=16, anytime=anytime)
            self.layers = nn.Linear(self.backbone.out_channels[0], 2)

        def forward(self, points, labels, mode='tensor'):
            colours = torch.cat([points, points.prod(1, keepdim=True)], 1)
            scores = self.layers(self.backbone(colours[..., None, None].expand(-1, -1, 16, 16))[0].mean((2, 3)))
            return dict(loss_cls=F.cross_entropy(scores, labels)) if mode == 'loss' else scores.argmax(1) == labels

    def make(epochs=2, anytime=dict(steps=(1, 2, 3)), folder='work', hooks=(), **changes):
        notes = Notes()
        hooks = [dict(type='ReseedHook'), dict(type='AnytimeHook'), notes, *hooks]
        return Runner(**toy.toy_config(tmp_path / folder, epochs, hooks, model=Network(anytime), **changes)), notes

    return make


def test_the_numbers_in_turn():
    assert [steps_of((1, 2, 3), 0, iteration) for iteration in range(7)] == [3, 1, 2, 3, 1, 2, 3]
    assert [steps_of((2, 5), 0, iteration) for iteration in range(4)] == [5, 2, 5, 2]
    between = {seed: [steps_of((1, 2, 4, 8), seed, iteration) for iteration in range(2, 90, 3)] for seed in (7, 8)}
    assert {*between[7]} == {2, 4} and between[7] != between[8]


def test_a_resumed_run_ends_like_an_undisturbed_one(start):
    whole, notes = start(epochs=2, folder='whole')
    whole.train()
    assert notes.taken == [3, 1, 2] * 5 + [3] and notes.validated == [3, 3] and 'loss_distill' not in notes.losses
    start(epochs=1)[0].train()
    resumed, notes = start(epochs=2, resume=True)
    resumed.train()
    assert notes.taken == ([3, 1, 2] * 6)[8:16]
    state, expected = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    # Every number has statistics of its own.
    norm = resumed.model.backbone.stage4[1].project.solver.norm
    assert (norm.num_batches_tracked, norm.statistics['1'].num_batches_tracked) == (6 * 3, 5)
    assert not torch.equal(norm.running_mean, norm.statistics['1'].running_mean)


def test_distillation_averaging_and_another_number_outside_of_training(start):
    runner, notes = start(epochs=1, anytime=dict(steps=(1, 3), take=1, distill=True),
                          hooks=[dict(type='EMAHook', update_buffers=True)])
    runner.train()
    assert notes.taken == [3, 1] * 4 and notes.validated == [1] and 'loss_distill' in notes.losses
    assert runner.model.backbone.num_steps == (1, 1, 1, 1)
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    # What follows the largest number is no part of the network.
    assert not runner.model._forward_hooks and not runner.model.backbone._forward_hooks


def test_a_network_without_a_choice_is_refused(start):
    with pytest.raises(InputError, match='AnytimeHook: no part of this Network'):
        start(anytime=None)[0].train()


def test_several_processes_need_no_search_for_unused_parameters(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        backbone = MobileODEV1(widen_factor=0.125, input_size=16, anytime=dict(steps=(1, 2, 3)))
        model = MobileODEDistributedDataParallel(module=backbone)
        for number in (3, 1, 2, 1):
            backbone.set_steps(number)
            model(torch.randn(2, 3, 32, 32))[0].square().mean().backward()
    finally:
        torch.distributed.destroy_process_group()
