"""The resizing matrix against torch's interpolation."""

import pytest
import torch
import torch.nn.functional as F

from mobileode_mm.ode import RESIZE_MODES, resize_matrix


@pytest.mark.parametrize('mode', RESIZE_MODES)
@pytest.mark.parametrize('size_in, size_out', [(1, 4), (4, 1), (12, 24), (24, 12), (5, 7), (7, 3), (6, 6), (64, 8)])
def test_is_interpolate(mode, size_in, size_out):
    y = torch.randn(1, 1, size_in, size_in, dtype=torch.double)
    matrix = resize_matrix(size_in, size_out, mode)
    expected = F.interpolate(y, (size_out, size_out), mode=mode, align_corners=None if mode == 'nearest' else False)
    torch.testing.assert_close(matrix @ y @ matrix.T, expected)


def test_nearest_is_exact_on_borders():
    """Row 11 of 22 lies at 11·26/22 = 13, a whole number."""
    assert resize_matrix(26, 22, 'nearest')[11].nonzero().item() == 13
