"""The profile's parts, and the work that the floors count."""

import json

import pytest
import torch
from mmcv.cnn import ConvModule

from benchmarks.speed.floors import page_text, part_work, parts_of
from mobileode_mm import MobileODEV2, cli
from mobileode_mm.backbones.mobileode import SolverModule


def main(arguments):
    return cli.main(['profile', *arguments])



def test_work_of_a_convolution():
    x, y = torch.zeros(2, 8, 6, 5), torch.zeros(2, 16, 6, 5)
    pointwise = ConvModule(8, 16, 1, bias=False)
    assert part_work(pointwise, x, y, train=False).operations == 2 * (2 * 6 * 5) * 8 * 16
    assert part_work(pointwise, x, y, train=False).values == x.numel() + y.numel() + 8 * 16
    assert part_work(pointwise, x, y, train=True).operations == 6 * (2 * 6 * 5) * 8 * 16
    depthwise = ConvModule(8, 8, 3, padding=1, groups=8, bias=False)
    assert part_work(depthwise, x, x, train=False).operations == 2 * x.numel() * 9


def test_work_of_a_solver():
    x = torch.zeros(2, 16, 6, 5)
    part = SolverModule(16, 16, dict(grid_size=(6, 5)), dict(type='BN'))
    # at each of 60 positions: three steps of a 4x4 product (two a multiply-add) and seven operations a value, and the
    # sum with the start
    assert part_work(part, x, x, train=False).operations == 60 * (3 * (2 * 4 ** 3 + 7 * 16) + 16)
    wider = SolverModule(4, 16, dict(grid_size=(6, 5)), dict(type='BN'))
    assert part_work(wider, x[:, :4], x, train=False).operations == 60 * (
        3 * (2 * 64 + 112) + 16 + 2 * (2 * 2 * 4 + 2 * 16))


def test_every_convolution_and_solver_is_a_part():
    network = MobileODEV2(widen_factor=0.25, input_size=32, out_indices=(5, ))
    parts = parts_of(network, torch.randn(2, 3, 32, 32))
    counts = [sum(isinstance(part, kind) for part, _, _ in parts.values()) for kind in (SolverModule, ConvModule)]
    assert counts == [16, 1 + 2 * 5 + 8] and sum(counts) == len(parts)
    for part, x, y in parts.values():
        torch.testing.assert_close(part(x).shape, y.shape)


def test_command(tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('<!-- floors-32: begin -->\n<!-- floors-32: end -->\n')
    command = ['MobileODEV1', '--shape', '32', '--rounds', '2', '--batch', '2', '--out', str(tmp_path / 'out'),
               '--page', f'{page}#floors-32']
    assert main(command) == 0
    text = (tmp_path / 'out/profile_floor.md').read_text()
    assert '## MobileODEV1, infer' in text and '## MobileODEV1, train' in text
    assert '| stage4 | solver 576→576 | 5 |' in text and 'GFLOP/s' in text and '`aten::' in text
    # The page has no operators of torch and no convolutions, and is made again from the results beside it.
    assert '`aten::' not in page.read_text() and '| stage4 | solver 576→576 | 5 |' in page.read_text()
    assert page_text(json.loads((tmp_path / 'results/floors-32.json').read_text())) in page.read_text()
    assert main(command) == 2
    assert 'would be written over' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [(['--rounds', '0'], 'a number of 1 or more'),
                                                (['MobileODEV9'], "no backbone named 'MobileODEV9'")])
def test_bad_input(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
