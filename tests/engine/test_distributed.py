"""Two processes give the gradient and the running statistics of the same global batch."""

import os
import subprocess
import sys

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn

from mobileode_mm.backbones import MobileODEV1
from mobileode_mm.backbones.sync_norms import ReducedBatchNorm, sync_norms, trains_on_one_image
from mobileode_mm.engine.distributed import MobileODEDistributedDataParallel
from mobileode_mm.ode import PositionNorm


def network(solver_norm, norm_type):
    torch.manual_seed(0)
    return MobileODEV1(widen_factor=0.25, input_size=32, solver_norm=solver_norm, out_indices=(2, 3),
                       norm_cfg=dict(type=norm_type)).double()


def loss_of(outputs, probes):
    """A mean over the batch, so that equal shares of it average to the whole's."""
    return sum((output.square() * probe).mean() for output, probe in zip(outputs, probes))


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 48, 32, dtype=torch.double, generator=generator)


def probes_for(outputs):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(4, *o.shape[1:], dtype=torch.double, generator=generator) for o in outputs]


CASES = [('position', 'norm_cfg'), ('position', 'runner'), ('channel', 'norm_cfg')]


def norms():
    return dict(plain=nn.BatchNorm2d(2), synchronised=nn.SyncBatchNorm(2), reduced=ReducedBatchNorm(2),
                frozen=nn.BatchNorm2d(2).eval(), group=nn.GroupNorm(1, 2))


def worker(path):
    """What torchrun runs in each of the two processes."""
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    share = slice(2 * rank, 2 * rank + 2)
    results = {}
    for solver_norm, asked_by in CASES:
        if asked_by == 'runner':
            model = convert_sync_batchnorm(network(solver_norm, 'BN'), 'torch')  # the Runner's sync_bn='torch'
        else:
            model = network(solver_norm, 'SyncBN')
        model = MobileODEDistributedDataParallel(module=model, device_ids=[rank], find_unused_parameters=True)
        outputs = model(batch()[share])
        loss_of(outputs, [probe[share] for probe in probes_for(outputs)]).backward()
        gradients = {name: p.grad for name, p in model.module.named_parameters()}
        results[solver_norm, asked_by] = gradients, model.module.state_dict()
    results['one image'] = {name: trains_on_one_image(nn.Sequential(norm), 1) for name, norm in norms().items()}
    if rank == 0:
        torch.save(results, path)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    path = tmp_path_factory.mktemp('two_processes') / 'rank0.pt'
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', __file__, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr
    return torch.load(path)


@pytest.mark.parametrize('case', CASES, ids='-'.join)
def test_two_processes_equal_the_global_batch(two_processes, case):
    model = network(case[0], 'BN')
    outputs = model(batch())
    loss_of(outputs, probes_for(outputs)).backward()
    gradients, state = two_processes[case]
    compared = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-6, atol=1e-9, msg=name)
            compared += 1
    assert compared > 20
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-9, msg=name)


def test_only_a_network_that_asks_is_synchronised():
    plain = sync_norms(network('position', 'BN'), 'cpu')
    assert not any(m.sync for m in plain.modules() if isinstance(m, PositionNorm))
    on_gpu = sync_norms(network('position', 'SyncBN'), 'cuda')
    assert all(m.sync for m in on_gpu.modules() if isinstance(m, PositionNorm))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in on_gpu.modules())
    on_cpu = sync_norms(network('position', 'SyncBN'), 'cpu')
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in on_cpu.modules())
    assert any(isinstance(m, ReducedBatchNorm) for m in on_cpu.modules())
    assert on_cpu.state_dict().keys() == plain.state_dict().keys()
    out = on_cpu(torch.randn(2, 3, 32, 32).double())  # one process: plain batch norm
    assert all(o.isfinite().all() for o in out)


def test_which_norms_need_more_than_one_picture(two_processes):
    """By the norms themselves: in one process all batch norms raise; in two, those that see one image only."""
    def raises(norm, images=1):
        try:
            norm(torch.randn(images, 2, 1, 1))
        except ValueError:
            return True
        return False

    in_one = {name: trains_on_one_image(nn.Sequential(norm), 1) for name, norm in norms().items()}
    assert in_one == {name: raises(norm) for name, norm in norms().items()}
    assert in_one == dict(plain=True, synchronised=True, reduced=True, frozen=False, group=False)
    assert not any(trains_on_one_image(norm, 2) or raises(norm, 2) for norm in norms().values())
    assert two_processes['one image'] == {**in_one, 'synchronised': False, 'reduced': False}


if __name__ == '__main__':
    worker(sys.argv[1])
