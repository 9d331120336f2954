"""Runs of `mobileode fit` are compared by what they left; those that are there are not run again."""
import json

import pytest

from mobileode_mm.cli import main

CONFIG = """
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='coco/bbox_mAP'))
"""


def leave(folder, precision):
    """What a finished run leaves, as far as the comparison reads it."""
    log = folder / 'runs/20260101_000000/vis_data'
    log.mkdir(parents=True)
    (folder / f'{folder.name}.py').write_text(CONFIG)
    (folder / 'report.json').write_text(json.dumps(dict(
        split='test', images=3, metrics={'AP': precision, 'AP50': 2 * precision, 'AP small': None})))
    lines = [dict(loss=1., epoch=1, iter=5, step=5), {'coco/bbox_mAP': 0.1, 'step': 2},
             dict(loss=1., epoch=3, iter=15, step=15), {'coco/bbox_mAP': precision, 'step': 4}]
    (log / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))


@pytest.fixture()
def runs(tmp_path):
    start = tmp_path / 'mini.pth'
    start.touch()
    for seed in (0, 1):
        leave(tmp_path / f'runs/mobileode_v1_{seed}', 0.2 + 0.1 * seed)
        leave(tmp_path / f'runs/mobilenet_v2_scratch_{seed}', 0.1)
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- fits: begin -->\nold\n<!-- fits: end -->\nafter\n')
    return ['fits', 'data', '--models', f'mobileode_v1={start}', 'mobilenet_v2', '--seeds', '0', '1', '--epochs', '4',
            '--work-dir', str(tmp_path / 'runs'), '--page', str(page), '--out', str(tmp_path / 'all.json'),
            '--curves', str(tmp_path / 'curves.svg')]


def test_runs_that_are_there_are_compared(runs, tmp_path, capsys):
    assert main(runs) == 0
    out = capsys.readouterr().out
    assert '| `mobileode_v1` | a checkpoint | **0.250** ± 0.071 (0.200, 0.300) | **0.500**' in out
    assert '| `mobilenet_v2` | scratch | **0.100** ± 0.000 (0.100, 0.100) |' in out
    assert 'AP small' not in out and 'on the 3 images of the test split; 4 epochs; seeds 0, 1' in out
    page = (tmp_path / 'page.md').read_text()
    assert page.startswith('before\n<!-- fits: begin -->\n| network') and page.endswith('<!-- fits: end -->\nafter\n')
    assert 'old' not in page and '**0.250**' in page
    assert json.loads((tmp_path / 'all.json').read_text())['runs'][0]['curve'] == [[2, 4], [0.1, 0.2]]
    assert (tmp_path / 'curves.svg').stat().st_size > 1000


@pytest.mark.parametrize('change, message', [
    ({'mobilenet_v2': 'resnet'}, 'resnet is none of'),
    ({'mobilenet_v2': 'mobilenet_v2=absent.pth'}, 'there is no file absent.pth'),
])
def test_what_is_refused(runs, change, message, capsys):
    assert main([change.get(word, word) for word in runs]) == 2
    assert message in capsys.readouterr().err


def test_curves_of_another_format_are_refused(runs, capsys):
    assert main([*runs[:-1], 'curves.png']) == 2
    assert '--curves curves.png: curves are drawn as .svg' in capsys.readouterr().err
