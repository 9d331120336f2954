"""Train, checkpoint, test, by the command lines, for each toolbox."""
import pickle
import re

import pytest

METRIC = {'detection': 'coco/bbox_mAP_50', 'segmentation': 'mIoU', 'classification': 'accuracy/top1'}


@pytest.mark.parametrize('task', METRIC)
def test_train_then_test(task, shared_place, trained, run):
    work_dir, log = trained(task)
    assert {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint', 'curves.png', 'predictions.png',
            f'{task}.py'} <= {path.name for path in work_dir.iterdir()}
    for line in ('Effective learning rate: 0.0025 (SGD, scaled by 0.25 from batches of 16)',
                 'Effective batch size: 4 (4 per process x 1 processes x 1 accumulated)',
                 'Threads: 1 per process', 'Device: cpu', f'Data: {shared_place}/data'):
        assert log.count(line) == 1, line
    trained = float(re.findall(rf'Epoch\(val\) \[3\].* {METRIC[task]}: ([\d.]+)', log)[0])

    config = (work_dir / f'{task}.py').read_text()
    status, log, err = run(shared_place, 'test.py', f'{task}.py', work_dir / 'epoch_3.pth', '--out', f'{task}.pkl',
                           '--show-dir', f'show_{task}')
    assert status == 0, err
    tested = float(re.findall(rf'Epoch\(test\) \[2/2\].* {METRIC[task]}: ([\d.]+)', log)[0])
    assert tested == trained
    predictions = pickle.loads((shared_place / f'{task}.pkl').read_bytes())
    assert len(predictions) == 6
    assert not any('seg_logits' in prediction for prediction in predictions)
    images = sorted((shared_place / f'show_{task}').iterdir())
    assert len(images) == 6
    assert all(image.stat().st_size > 1000 for image in images)
    assert (work_dir / f'{task}.py').read_text() == config, 'the test has written over the config of the training'
