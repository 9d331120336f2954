import re

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image

import mobileode_mm.engine  # noqa: F401 (registers)

CLASSIFIER = dict(
    type='mmpretrain.ImageClassifier',
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=2),
    backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=4, out_indices=(3, )),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=32, topk=(1, )))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    for label, value in (('dark', 30), ('light', 220)):
        (root / label).mkdir()
        for index in range(4):
            Image.fromarray(np.full((32, 32, 3), value + index, np.uint8)).save(root / label / f'{index}.png')
    return root


def _classification(toy, images, work_dir, hooks=(), **changes):
    pytest.importorskip('mmpretrain.models', reason='needs mmpretrain')
    dataset = dict(type='mmpretrain.CustomDataset', data_root=str(images), pipeline=[
        dict(type='LoadImageFromFile'), dict(type='mmpretrain.PackInputs')])
    loader = dict(batch_size=4, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True))
    return toy.toy_config(work_dir, hooks=[dict(type='RunReportHook', num_images=4), *hooks], **{
        'model': CLASSIFIER, 'train_dataloader': loader, 'val_dataloader': loader,
        'val_evaluator': dict(type='mmpretrain.Accuracy'), 'default_scope': 'mmpretrain', **changes})


def _log(work_dir):
    return '\n'.join(path.read_text() for path in work_dir.glob('*/*.log'))


def test_report_of_a_training_with_averaged_weights(tmp_path, toy, images):
    runner = Runner(**_classification(
        toy, images, tmp_path / 'work', hooks=[dict(type='EMAHook', momentum=.3)], epochs=2))
    used = []
    runner.model.head.register_forward_pre_hook(
        lambda head, inputs: used.append((torch.is_grad_enabled(), head.fc.weight.detach().clone())))
    runner.train()

    log = _log(tmp_path / 'work')
    assert Image.open(tmp_path / 'work/curves.png').size == (1600, 480)
    sheet = np.asarray(Image.open(tmp_path / 'work/predictions.png').convert('RGB'))
    assert sheet.shape[1] > 1600
    assert (sheet == 30).all(2).any() and (sheet == 223).all(2).any(), 'the first and the last image'
    assert f'Curves of loss and metrics: {tmp_path}/work/curves.png' in log
    assert f'Predictions beside ground truth: {tmp_path}/work/predictions.png' in log
    values = [float(value) for value in re.findall(r'Epoch\(val\) .* accuracy/top1: ([\d.]+)', log)]
    final, epoch, best = re.search(
        r'accuracy/top1: ([\d.]+) at the end \(epoch (\d)\), best ([\d.]+) \(epoch \d\)', log).groups()
    assert int(epoch) == 2
    assert float(final) == pytest.approx(values[-1]) and float(best) == pytest.approx(max(values))

    # The last four forwards are the sheet's.
    averages, = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    averaged = averages.ema_model.module.head.fc.weight
    own = runner.model.head.fc.weight
    assert not torch.equal(averaged, own)
    assert all(not grad and torch.equal(weight, averaged) for grad, weight in used[-4:])
    saved = torch.load(tmp_path / 'work/epoch_2.pth', weights_only=False)
    assert torch.equal(saved['state_dict']['head.fc.weight'], averaged), 'as saved'
    assert torch.equal(saved['ema_state_dict']['module.head.fc.weight'], own), 'put back'


@pytest.mark.parametrize('hook, by_averages', [
    (dict(type='mmengine.EMAHook', update_buffers=True), True),
    (dict(type='mmpretrain.EMAHook', update_buffers=True), True),
    (dict(type='mmpretrain.EMAHook', evaluate_on_origin=True), True),
    (dict(type='mmpretrain.EMAHook', evaluate_on_ema=False, evaluate_on_origin=True), False),
], ids=['mmengine', 'mmpretrain', 'both', 'origin'])
def test_final_metric_and_sheet_are_of_the_weights_that_are_validated(hook, by_averages, tmp_path, toy, images):
    """Weights and statistics of norms of every forward without gradient, against those of the checkpoint."""
    runner = Runner(**_classification(toy, images, tmp_path, hooks=[dict(momentum=.3, **hook)], epochs=2))
    used = []

    def remember(model, inputs):
        if not torch.is_grad_enabled():
            used.append({name: value.clone() for name, value in model.state_dict().items()})

    runner.model.register_forward_pre_hook(remember)
    runner.train()
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    averaged = saved['state_dict']
    own = {name[7:]: value for name, value in saved['ema_state_dict'].items() if name.startswith('module.')}
    assert not any(torch.equal(averaged[name], own[name]) for name in ('head.fc.weight', 'backbone.conv1.weight'))
    assert torch.equal(averaged['backbone.bn1.running_mean'], own['backbone.bn1.running_mean']) \
        != hook.get('update_buffers', False)

    # Two batches a validation (mmpretrain's may follow with two of the trained weights), and four images.
    both = by_averages and hook.get('evaluate_on_origin', False)
    assert len(used) == 2 * (4 if both else 2) + 4
    last_validation = used[-8:-6] if both else used[-6:-4]
    expected = averaged if by_averages else own
    for state in (*last_validation, *used[-4:]):
        assert all(torch.equal(state[name], value) for name, value in expected.items())

    # The metric in the log is that of these weights, in a network of its own.
    model = MODELS.build(CLASSIFIER).eval()
    model.load_state_dict(expected)
    dataset = runner.val_dataloader.dataset
    right = [model.test_step(pseudo_collate([item]))[0] for item in dataset]
    right = [bool(sample.pred_label == sample.gt_label) for sample in right]
    final, = re.findall(r'accuracy/top1: ([\d.]+) at the end', _log(tmp_path))
    assert float(final) == pytest.approx(100 * sum(right) / len(right))


def test_a_drawing_that_fails_does_not_fail_the_run(tmp_path, toy):
    runner = Runner(**toy.toy_config(tmp_path, epochs=2, hooks=[
        dict(type='RunReportHook'), dict(type='EMAHook', momentum=.3)]))
    runner.train()  # the toy's predictions are no data samples
    assert (tmp_path / 'epoch_2.pth').exists() and (tmp_path / 'curves.png').exists()
    assert not (tmp_path / 'predictions.png').exists()
    log = _log(tmp_path)
    assert re.search(r'WARNING - The training is complete, but its sheet of predictions failed: \w+: .+', log)
    assert 'Traceback' in log and 'sheet.py' in log
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    # The averaged weights were not left in the model. The checkpoint has exchanged the names of the two.
    assert all(torch.equal(saved['ema_state_dict'][f'module.{name}'], value)
               for name, value in runner.model.state_dict().items())


def test_a_run_without_local_scalars(tmp_path, toy):
    runner = Runner(**toy.toy_config(
        tmp_path, epochs=1, hooks=[dict(type='RunReportHook')],
        visualizer=dict(type='Visualizer', vis_backends=[])))
    runner.train()
    assert 'but its curves failed: InputError: No logged training' in _log(tmp_path)


def test_a_run_without_validation(tmp_path, toy):
    Runner(**toy.toy_config(tmp_path, epochs=1, hooks=[dict(type='RunReportHook')], val_dataloader=None,
                            val_evaluator=None, val_cfg=None)).train()
    assert (tmp_path / 'curves.png').exists() and not (tmp_path / 'predictions.png').exists()
    assert 'No sheet of predictions: the run has no validation set.' in _log(tmp_path)
    assert 'WARNING - The training is complete' not in _log(tmp_path)


def test_no_report_of_an_evaluation(tmp_path, toy, images):
    Runner(**_classification(toy, images, tmp_path / 'work')).val()
    assert not list((tmp_path / 'work').glob('*.png'))
