"""What a run starts with: its learning rate, its modules, its drawings."""
import os
import re
import shutil
import sys

import pytest

from mobileode_mm.cli import main

PLAIN = '''
_base_ = './classification.py'
param_scheduler = []
train_cfg = dict(max_epochs=1)
val_dataloader = val_cfg = val_evaluator = None
train_dataloader = dict(num_workers=0, persistent_workers=False)
'''


@pytest.mark.slow
def test_accumulated_batches_count(shared_place, run):
    (shared_place / 'accumulated.py').write_text(PLAIN + 'optim_wrapper = dict(accumulative_counts=4)\n')
    status, log, err = run(shared_place, 'train.py', 'accumulated.py', '--auto-scale-lr')
    assert status == 0, err
    assert 'Effective learning rate: 0.01 (SGD, scaled by 1 from batches of 16)' in log
    assert 'Effective batch size: 16 (4 per process x 1 processes x 4 accumulated)' in log


@pytest.mark.slow
def test_the_rate_of_the_next_step(shared_place, run):
    (shared_place / 'warm.py').write_text(
        PLAIN.replace('param_scheduler = []', "param_scheduler = [dict(type='LinearLR', start_factor=0.1, end=5)]"))
    status, log, err = run(shared_place, 'train.py', 'warm.py')
    assert status == 0, err
    assert 'Effective learning rate: 0.001 (SGD, 0.01 before its schedule)' in log
    assert re.search(r'Epoch\(train\)\s+\[1\]\[1/4\]\s+lr: 1.0000e-03', log)


def test_a_module_in_the_current_folder(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'path', [path for path in sys.path if path not in ('', os.getcwd())])
    (place / 'my_module_of_hooks.py').write_text('')
    (place / 'mine.py').write_text("_base_ = 'detection.py'\ncustom_imports = dict(imports=['my_module_of_hooks'])\n")
    assert main(['verify', 'mine.py']) == 0, capsys.readouterr().err
    assert sys.path[-1] == str(place)  # it hides nothing


@pytest.mark.slow
@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_views_of_images_of_one_name(task, tmp_path, trained, run):
    """Averaged over a flip, and drawn into files of their own."""
    work_dir, _ = trained(task)
    place = tmp_path / 'place'
    shutil.copytree(work_dir.parents[1] / 'data', place / 'data')
    shutil.copy(work_dir.parents[1] / f'{task}.py', place)
    if task == 'classification':
        for folder in (place / 'data/folders/val').iterdir():
            for number, path in enumerate(sorted(folder.iterdir())):
                path.rename(folder / f'{number}.png')
    status, log, err = run(place, 'test.py', f'{task}.py', work_dir / 'epoch_3.pth', '--tta', '--show-dir', 'drawn')
    assert status == 0, err
    assert 'Test-time augmentation: each image as it is and flipped' in log
    names = sorted(path.name for path in (place / 'drawn').iterdir())
    assert len(names) == 6
    if task == 'classification':
        assert names[:2] == ['blue_0.png', 'blue_1.png']
