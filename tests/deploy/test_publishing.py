"""Published weights: what is in the files, that they are the same network everywhere, and what is refused."""
import copy
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import CheckpointLoader

from mobileode_mm import create_model
from mobileode_mm.apis import Inferencer
from mobileode_mm.apis import test as evaluate
from mobileode_mm.checkpoints.reading import read_checkpoint, restricted_loading
from mobileode_mm.cli import main
from mobileode_mm.deploy.publishing import publish
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

pytest.importorskip('safetensors', reason='needs safetensors')

CONFIGS = Path(__file__).parents[2] / 'configs'
TASKS = {'detection': 'ssdlite_mobileode_mini', 'segmentation': 'deeplabv3_mobileode_mini',
         'classification': 'classify_mobileode_mini'}
FORMATS = ('pth', 'safetensors')
SMALL = dict(widen_factor=0.25, input_size=64)
MOMENTUM = 0.25
TRAINED = '''
_base_ = '{base}'
custom_imports = dict(imports=['mobileode_mm'])
model = dict(backbone=dict(_delete_=True, type='MobileODEV1', widen_factor=0.25, input_size=64),
             head=dict(in_channels=36))
train_cfg = dict(max_epochs=2)
train_dataloader = dict(num_workers=0)
val_dataloader = test_dataloader = dict(num_workers=0)
custom_hooks = [dict(type='EMAHook', momentum={momentum}), dict(type='AverageByHand', momentum={momentum})]
'''


@HOOKS.register_module()
class AverageByHand(Hook):
    """The moving average of the parameters in double precision."""

    priority = 'LOWEST'
    average = None

    def __init__(self, momentum):
        self.momentum = momentum
        AverageByHand.average = None

    def after_train_iter(self, runner, **kwargs):
        now = {name: value.detach().double().clone() for name, value in runner.model.named_parameters()}
        before, momentum = AverageByHand.average or now, self.momentum
        AverageByHand.average = {name: (1 - momentum) * before[name] + momentum * now[name] for name in now}


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    """Checkpoints as a training leaves them, of untrained networks."""
    folder = tmp_path_factory.mktemp('untrained')
    hub = MessageHub.get_instance('test_publishing')
    hub.update_scalar('train/loss', 1.5)
    for task, name in TASKS.items():
        cfg = load_config(CONFIGS / f'{name}.py')
        with config_scope(cfg):
            torch.manual_seed(0)
            model = build_model(cfg)
        state = model.state_dict()
        classes = 11 if task == 'segmentation' else 10
        torch.save(dict(
            state_dict=state, ema_state_dict={f'module.{name}': value + 1 for name, value in state.items()},
            optimizer=torch.optim.AdamW(model.parameters()).state_dict(), message_hub=hub.state_dict(),
            meta=dict(dataset_meta=dict(classes=tuple('abcdefghijk'[:classes]), palette=np.eye(3, dtype=int)))),
            folder / f'{task}.pth')
    return folder


@pytest.fixture(scope='module')
def run(shared_place, tmp_path_factory):
    """A work dir of two epochs with averaged weights, its config, and the averages."""
    folder = tmp_path_factory.mktemp('run')
    config = folder / 'small.py'
    config.write_text(TRAINED.format(base=shared_place / 'classification.py', momentum=MOMENTUM))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MOBILEODE_DATA', str(shared_place / 'data'))
        assert main(['train', str(config), '--work-dir', str(folder / 'work')]) == 0
        yield folder / 'work', config, AverageByHand.average


@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize('task', TASKS)
def test_the_files(task, format, untrained, tmp_path):
    original, config = untrained / f'{task}.pth', CONFIGS / f'{TASKS[task]}.py'
    weights = publish(original, config, tmp_path / 'out', format)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.name == f'{TASKS[task]}-{digest[:8]}.{format}'
    assert {path.suffix for path in weights.parent.iterdir()} == {f'.{format}', '.json', '.md', '.py'}

    state = torch.load(original, weights_only=False)['state_dict']
    if format == 'pth':
        content = torch.load(weights, weights_only=True)  # torch's own list: tensors and plain values
        assert content.keys() == {'state_dict', 'meta'} and content['meta'].keys() == {'dataset_meta'}
        published = content['state_dict']
    else:
        from safetensors.torch import load_file
        published = load_file(weights)
    assert published.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(published[name], value, rtol=0, atol=0, msg=name)

    card = json.loads(weights.with_suffix('.json').read_text())
    assert card['sha256'] == digest and card['bytes'] == weights.stat().st_size
    assert card['classes'] == list('abcdefghijk'[:len(card['classes'])]) and card['task'] == task
    assert card['metrics'] is None and 'Not measured' in weights.with_suffix('.md').read_text()
    assert card['data']['train'].endswith(dict(
        detection='CocoDataset, data/mini/coco/annotations/instances_train2017.json',
        segmentation='BaseSegDataset, data/mini/VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt',
        classification='CustomDataset, data/mini/classification/train')[task])
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    # The config beside the weights is whole: it needs no other file.
    mine = Inferencer(weights.with_suffix('.py'), weights, 'cpu', deploy=False)
    theirs = Inferencer(config, original, 'cpu', deploy=False)
    assert mine.classes == theirs.classes == tuple(card['classes'])
    assert card['parameters'] == sum(parameter.numel() for parameter in theirs.model.parameters())
    for a, b in zip(mine([image])[0], theirs([image])[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module', params=FORMATS)
def published(run, request, tmp_path_factory):
    work, config, _ = run
    return publish(work / 'epoch_2.pth', config, tmp_path_factory.mktemp('published'), request.param)


def test_averaged_weights_are_published(run, published):
    work, _, average = run
    trained = torch.load(work / 'epoch_2.pth', weights_only=False)['ema_state_dict']
    state = read_checkpoint(published)['state_dict']
    for name, value in average.items():
        torch.testing.assert_close(state[name].double(), value, rtol=1e-5, atol=1e-6, msg=name)
    assert any(not torch.equal(trained[f'module.{name}'], state[name]) for name in average)


def test_the_card_has_the_metrics_of_the_run(run, published, tmp_path):
    work, config, _ = run
    log, = work.glob('*/vis_data/scalars.json')
    logged = [json.loads(line)['accuracy/top1'] for line in log.read_text().splitlines() if 'accuracy/top1' in line]
    assert len(logged) == 2
    card = json.loads(published.with_suffix('.json').read_text())
    assert card['metrics'] == {'accuracy/top1': logged[1]}
    assert card['trained'] == dict(epoch=2, iter=8, seed=3)
    assert f'| accuracy/top1 | {logged[1]:.4g} |' in published.with_suffix('.md').read_text()
    first = publish(work / 'epoch_1.pth', config, tmp_path)
    assert json.loads(first.with_suffix('.json').read_text())['metrics'] == {'accuracy/top1': logged[0]}

    # Figures of another run are not taken for those of this one.
    log.parents[1].rename(tmp_path / '20200101_000000')
    try:
        shutil.copy(work / 'epoch_1.pth', tmp_path / 'moved.pth')
        (tmp_path / 'out').mkdir()
        moved = publish(tmp_path / 'moved.pth', config, tmp_path / 'out')
    finally:
        (tmp_path / '20200101_000000').rename(log.parents[1])
    assert json.loads(moved.with_suffix('.json').read_text())['metrics'] is None


def test_it_is_tested_as_the_checkpoint_is(run, published, tmp_path):
    results = []
    for number, path in enumerate((run[0] / 'epoch_2.pth', published)):
        out = tmp_path / f'{number}.pkl'
        metrics = evaluate(run[1], path, tmp_path / f'work_{number}', out)
        results.append((metrics, [one['pred_score'] for one in pickle.loads(out.read_bytes())]))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=0)


def test_its_backbone_starts_a_training(run, published, tmp_path):
    config = run[1]
    assert main(['train', str(config), '--work-dir', str(tmp_path / 'work'), '--load-backbone', str(published),
                       '--cfg-options', 'optim_wrapper.optimizer.lr=0.0', 'train_cfg.max_epochs=1']) == 0
    state = read_checkpoint(published)['state_dict']
    trained = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    steps = [name for name in state if name.startswith('backbone.') and 'running' not in name and 'num_' not in name]
    assert steps
    for name in steps:
        torch.testing.assert_close(trained[name], state[name], msg=name)


def test_networks_start_from_it(run, published):
    state = read_checkpoint(published)['state_dict']
    by_name = create_model('mobileode_v1', published, num_classes=3, **SMALL)
    cfg = load_config(run[1])
    with config_scope(cfg), restricted_loading():
        by_init_cfg = MODELS.build({**cfg.model, 'init_cfg': dict(type='Pretrained', checkpoint=str(published))})
        by_init_cfg.init_weights()
    for model in (by_name, by_init_cfg):
        assert model.state_dict().keys() == state.keys()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0, msg=name)
    if published.suffix == '.pth':  # MMEngine as it is reads it, too
        assert CheckpointLoader.load_checkpoint(str(published))['state_dict'].keys() == state.keys()


def test_nothing_is_overwritten(untrained, tmp_path, capfd):
    arguments = [str(untrained / 'classification.pth'), '--config', str(CONFIGS / 'classify_mobileode_mini.py'),
                 '--out', str(tmp_path / 'out')]
    assert main(['publish', *arguments]) == 0
    assert 'the card is classify_mobileode_mini-' in capfd.readouterr().err
    card = next((tmp_path / 'out').glob('*.md'))
    card.write_text('mine')
    next((tmp_path / 'out').glob('*.pth')).unlink()
    assert main(['publish', *arguments]) == 2
    assert 'exists already and is not overwritten' in capfd.readouterr().err
    assert card.read_text() == 'mine' and not list((tmp_path / 'out').glob('*.pth'))


class RunsCode:

    def __reduce__(self):
        return os.makedirs, ('made', 0o777, True)


def test_what_is_refused(untrained, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    good = torch.load(untrained / 'classification.pth', weights_only=False)
    lacking = copy.deepcopy(good)
    del lacking['state_dict']['head.fc.bias']
    torch.save(lacking, 'lacking.pth')
    torch.save(dict(good, extra=RunsCode()), 'malicious.pth')
    Path('torn.pth').write_bytes(Path(untrained / 'classification.pth').read_bytes()[:100_000])
    Path('text.pth').write_text('no weights')
    torch.save([1, 2], 'foreign.pth')
    for name, reported in (('absent.pth', 'there is no checkpoint file absent.pth'),
                       ('torn.pth', 'torn.pth is no checkpoint, or a torn one'),
                       ('text.pth', 'text.pth is no checkpoint, or a torn one'),
                       ('foreign.pth', 'foreign.pth holds no weights'),
                       (untrained / 'detection.pth', 'is a checkpoint of another network'),
                       ('lacking.pth', '1 missing: head.fc.bias'),
                       ('malicious.pth', 'reading such objects can run any code')):
        assert main(['publish', str(name), '--config', str(CONFIGS / 'classify_mobileode_mini.py'),
                     '--out', 'out']) == 2
        assert reported in capfd.readouterr().err
    assert not os.path.exists('out') and not os.path.exists('made')
    assert main(['publish', 'malicious.pth', '--config', str(CONFIGS / 'classify_mobileode_mini.py'), '--out', 'out',
                 '--trust-checkpoint']) == 0
    assert torch.load(next(Path('out').glob('*.pth')), weights_only=True).keys() == {'state_dict', 'meta'}


@pytest.mark.parametrize('task', TASKS)
def test_half_precision(task, untrained, tmp_path):
    whole, config = untrained / f'{task}.pth', CONFIGS / f'{TASKS[task]}.py'
    weights = publish(whole, config, tmp_path, half=True)
    assert weights.stat().st_size < 0.6 * sum(
        value.numel() * value.element_size() for value in read_checkpoint(whole)['state_dict'].values())
    card = json.loads(weights.with_suffix('.json').read_text())
    assert 0 <= card['half_precision_error'] < 0.01  # the features of an untrained backbone may all but vanish
    assert '| precision | half for ' in weights.with_suffix('.md').read_text()
    mine, theirs = (Inferencer(config, file, 'cpu', deploy=False) for file in (weights, whole))
    halved = {f'{name}.weight' for name, module in theirs.model.named_modules()
              if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))}
    for (name, value), whole_value in zip(mine.model.state_dict().items(), theirs.model.state_dict().values()):
        assert value.dtype == whole_value.dtype
        # Half precision has 11 binary digits, down to 6e-8.
        torch.testing.assert_close(value, whole_value, rtol=2**-11 if name in halved else 0,
                                   atol=6e-8 if name in halved else 0, msg=name)


def test_half_precision_that_harms_is_refused(untrained, tmp_path, capfd):
    checkpoint = torch.load(untrained / 'classification.pth', weights_only=False)
    state = checkpoint['state_dict']
    state['head.fc.weight'] = state['head.fc.weight'] * 1e9
    torch.save(checkpoint, tmp_path / 'large.pth')
    assert main(['publish', str(tmp_path / 'large.pth'), '--config', str(CONFIGS / 'classify_mobileode_mini.py'),
                 '--out', str(tmp_path / 'out'), '--half']) == 2
    assert '--half moves the outputs by ' in capfd.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_lazy_configs_are_written_whole(untrained, tmp_path):
    config = tmp_path / 'lazy.py'
    imports = '\n'.join(f'    from mmodeconf.{part} import *' for part in (
        'models.classifier', 'datasets.mini_classification', 'runtime.default', 'runtime.classification'))
    config.write_text(f'from mmengine.config import read_base\n\nwith read_base():\n{imports}\n\n'
                      "model.update(backbone=dict(type='MobileODEV1', input_size=64, act_cfg=dict(type='SiLU')))\n"
                      "model['head'].update(num_classes=10)\n")
    weights = publish(untrained / 'classification.pth', config, tmp_path / 'out')
    config.unlink()
    assert Inferencer(weights.with_suffix('.py'), weights, 'cpu').classes == tuple('abcdefghij')
