"""Position norm at its own grid, at other sizes, and across checkpoints."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileode_mm.ode import PositionNorm


def random_norm(grid_size):
    norm = PositionNorm(grid_size)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def batch_norm_of(norm):
    """torch's own batch norm over the same positions."""
    reference = nn.BatchNorm1d(norm.weight.numel())
    reference.load_state_dict({k: v.flatten() if v.dim() else v for k, v in norm.state_dict().items()})
    return reference


@pytest.mark.parametrize('training', [True, False])
def test_equals_torch_batch_norm_at_its_own_size(training):
    torch.manual_seed(0)
    norm = random_norm((3, 5)).train(training)
    reference = batch_norm_of(norm).train(training)
    y = torch.randn(4, 3, 5, 9)
    torch.testing.assert_close(norm(y), reference(y.flatten(1, 2)).view_as(y), rtol=1e-5, atol=1e-6)
    for name in ('running_mean', 'running_var'):
        torch.testing.assert_close(getattr(norm, name).flatten(), getattr(reference, name))
    assert norm.num_batches_tracked == reference.num_batches_tracked


@pytest.mark.parametrize('size', [(1, 1), (4, 9), (11, 2)])
def test_other_sizes_resample_the_grid(size):
    torch.manual_seed(0)
    norm = random_norm((3, 5)).eval()
    y = torch.randn(2, *size, 9)

    def at_size(grid):
        return F.interpolate(grid[None, None], size, mode='bilinear', align_corners=False)[0, 0, ..., None]

    expected = (y - at_size(norm.running_mean)) / torch.sqrt(at_size(norm.running_var) + norm.eps)
    expected = expected * at_size(norm.weight) + at_size(norm.bias)
    torch.testing.assert_close(norm(y), expected, rtol=1e-5, atol=1e-5)


def test_training_at_another_size_feeds_the_grid():
    torch.manual_seed(0)
    norm = PositionNorm((2, 2))
    y = torch.randn(8, 4, 4, 16)
    y[:, :, 2:] += 10  # the right half
    norm(y)
    expected = 0.1 * F.interpolate(y.mean((0, 3))[None, None], (2, 2), mode='bilinear', align_corners=False)[0, 0]
    torch.testing.assert_close(norm.running_mean, expected)
    assert (norm.running_mean[:, 1] - norm.running_mean[:, 0]).min() > 0.9


def test_checkpoint_of_the_same_grid_is_bit_identical_and_of_another_is_resampled():
    torch.manual_seed(0)
    source = random_norm((6, 4))
    same, other = PositionNorm((6, 4)), PositionNorm((3, 2))
    same.load_state_dict(source.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), same.state_dict().values()))
    state = source.state_dict()
    other.load_state_dict(state, strict=True)
    expected = F.interpolate(source.weight[None, None], (3, 2), mode='bilinear', align_corners=False)[0, 0]
    assert torch.equal(other.weight, expected)
    assert state['weight'].shape == (6, 4), 'the caller\'s dict stays as it was'


@pytest.mark.parametrize('count', [7, 9, 144])
def test_flat_entries_are_no_grids(count):
    """They may be those of a channel norm, whose number is a square too."""
    norm = PositionNorm((3, 3))
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        norm.load_state_dict({**norm.state_dict(), 'weight': torch.ones(count)})
