"""Two processes on the CPU, by the scripts."""
import pickle
import re
import socket

import pytest


@pytest.mark.slow
def test_two_processes_train(shared_place, run):
    # Norms of the segmentor are synchronised.
    status, log, err = run(shared_place, 'dist_train.sh', 'segmentation.py', 2, '--work-dir', 'two',
                           '--cfg-options', 'train_cfg.max_epochs=1')
    assert status == 0, err
    assert 'Effective batch size: 8 (4 per process x 2 processes x 1 accumulated)' in log
    assert 'Distributed training: True' in log
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\].* mIoU: ', log), 'one batch of 4 in each process'
    assert (shared_place / 'two/epoch_1.pth').is_file()
    assert (shared_place / 'two/curves.png').is_file()
    assert 'Traceback' not in err


@pytest.mark.slow
def test_parameters_without_a_part_in_the_loss_are_named_once(shared_place, run):
    (shared_place / 'part.py').write_text(
        "from mmpretrain.models import ImageClassifier\nfrom mmengine.registry import MODELS\nfrom torch import nn\n\n"
        "@MODELS.register_module()\nclass WithSpare(ImageClassifier):\n\n    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n        self.spare = nn.Linear(2, 2)\n")
    (shared_place / 'spare.py').write_text(
        "_base_ = './classification.py'\ncustom_imports = dict(imports=['part'])\nmodel = dict(type='WithSpare')\n")
    status, log, err = run(shared_place, 'dist_train.sh', 'spare.py', 2, '--work-dir', 'spare')
    assert status == 2 and err.count('error: ') == 1 and 'Traceback' not in err
    assert 'spare.weight, spare.bias have no part in the loss' in err and 'find_unused_parameters=True' in err


@pytest.mark.slow
def test_two_processes_test(shared_place, trained, run):
    checkpoint = trained('detection')[0] / 'epoch_3.pth'
    _, alone, _ = run(shared_place, 'test.py', 'detection.py', checkpoint, '--work-dir', 'alone')
    status, log, err = run(shared_place, 'dist_test.sh', 'detection.py', checkpoint, 2, '--work-dir', 'both',
                           '--out', 'both.pkl')
    assert status == 0, err
    metrics = re.compile(r'coco/bbox_mAP\w*: [-\d.]+')
    assert metrics.findall(log) == metrics.findall(alone) != []
    assert len(pickle.loads((shared_place / 'both.pkl').read_bytes())) == 6


@pytest.mark.slow
def test_two_machines_train(shared_place, start):
    # Both are this one.
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    machines = [start(shared_place, 'dist_train.sh', 'segmentation.py', 1, '--work-dir', 'machines', '--cfg-options',
                      'train_cfg.max_epochs=1', NNODES='2', NODE_RANK=str(rank), MASTER_ADDR='127.0.0.1', PORT=port)
                for rank in range(2)]
    outputs = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert 'Effective batch size: 8 (4 per process x 2 processes x 1 accumulated)' in outputs[0][0]
    assert (shared_place / 'machines/epoch_1.pth').is_file()


@pytest.mark.slow
def test_bad_input_is_reported_once(shared_place, run):
    status, log, err = run(shared_place, 'dist_train.sh', 'segmentation.py', 2, '--work-dir', 'reported_once',
                           '--cfg-options', 'model.decode_head.num_classes=7')
    assert status == 2
    assert err.count('error: ') == 1 and 'decode_head.num_classes is 7' in err
    assert 'Traceback' not in err and 'exitcode' not in err


@pytest.mark.parametrize('script, args', [
    ('dist_train.sh', ['segmentation.py']), ('dist_train.sh', ['segmentation.py', 'all']),
    ('dist_train.sh', ['segmentation.py', '0']), ('dist_test.sh', ['segmentation.py', '2'])])
def test_bad_arguments_of_the_scripts(script, args, shared_place, run):
    status, _, err = run(shared_place, script, *args)
    assert status == 2
    assert len(err.splitlines()) == 1
