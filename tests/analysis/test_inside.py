"""What the plots of a network's inside are drawn from."""
import pytest
import torch

from mobileode_mm.ode import ChannelwiseODESolver


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('channels', [(9, 16), (16, 16)])
def test_a_trajectory_ends_where_the_layer_does(norm, channels):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(*channels, num_steps=4, grid_size=3, norm=norm)
    layer(torch.randn(5, channels[0], 3, 3))  # running statistics that are not the initial ones
    layer.eval()
    x = torch.randn(2, channels[0], 3, 3)
    states = layer.trajectory(x)
    assert states.shape == (5, 2, 16, 3, 3)
    torch.testing.assert_close(states[0] + states[-1], layer(x).detach())
    if channels[0] == channels[1]:
        torch.testing.assert_close(states[0], x)
    # One step more is one of the layer's own steps: it ends where a layer of the first steps alone does.
    first = ChannelwiseODESolver(*channels, num_steps=4, grid_size=3, norm=norm).eval()
    first.load_state_dict(layer.state_dict())
    with torch.no_grad():
        first.matrices[2:] = 7  # later steps do not count
    torch.testing.assert_close(first.trajectory(x)[:3], states[:3])
