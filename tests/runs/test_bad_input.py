"""What cannot be used is reported in one message that names it, with exit status 2, before anything is built or
written."""
import hashlib
import importlib
import json
import os
import re
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, TRANSFORMS, Registry

from mobileode_mm.cli import main
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import config_errors

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refused(place, capsys, monkeypatch):
    """Run a command that must be refused in seconds, leaving the folder as it was; returns the message."""
    # The data of a checkout stand in for those that are absent from the current folder.
    monkeypatch.setattr('mobileode_mm.runs.config.checkout_root', lambda: None)
    for toolbox in ('mmdet', 'mmseg', 'mmpretrain'):
        importlib.import_module(f'{toolbox}.models')  # not within the time that is measured

    def refuse(command, *args):
        before = snapshot(place)
        began = time.monotonic()
        try:
            status = main([command, *map(str, args)])
        except SystemExit as usage:
            status = usage.code
        assert time.monotonic() - began < 10
        assert status == 2
        assert snapshot(place) == before
        message = capsys.readouterr().err
        assert 'Traceback' not in message
        assert message.count('error: ') == 1
        return message.split('error: ')[1]

    def snapshot(folder):
        return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}

    return refuse


def refuse_training(refused, task, *args):
    return refused('train', f'{task}.py', *args)


# Configs


def test_config_path_wrong(refused):
    message = refused('train', 'detektion.py')
    assert message.startswith('there is no config detektion.py; nearest names: detection.py, ')
    assert 'a folder' in refused('train', '.')


def test_config_of_the_checkout_is_found_by_its_name(place, capsys):
    assert main(['train', 'ssdlite_mobilode.py']) == 2
    assert str(ROOT / 'configs/ssdlite_mobileode.py') in capsys.readouterr().err


@pytest.mark.parametrize('line, reported', [
    ('model = dict(', 'line 2: '),
    ('work_dir = nowhere', "line 2: NameError: name 'nowhere' is not defined"),
    ("custom_imports = dict(imports=['nowhere'])", 'Failed to import nowhere'),
    ("_base_ = 'nowhere.py'", 'nowhere.py'),
])
def test_config_that_cannot_be_read(line, reported, place, refused):
    (place / 'mine.py').write_text(f'# mine\n{line}\n')
    message = refused('train', 'mine.py')
    assert message.startswith('cannot read the config mine.py: ')
    assert reported in message


def test_config_without_training(place, refused):
    (place / 'mine.py').write_text("_base_ = 'detection.py'\ntrain_dataloader = None\noptim_wrapper = None\n")
    assert refused('train', 'mine.py') == 'mine.py has no train_dataloader, no optim_wrapper\n'


def test_config_of_a_network_that_cannot_be_built(refused):
    message = refuse_training(refused, 'detection', '--cfg-options', 'model.backbone.depth=17')
    assert 'invalid depth 17 for resnet' in message and 'resnet.py, line' in message
    message = refuse_training(refused, 'detection', '--cfg-options', 'model.neck.type=FPM')
    assert 'FPM' in message


@pytest.mark.parametrize('options, reported', [
    (['nonsense'], "'nonsense' is not of the form KEY=VALUE"),
    (['train_dataloader.batch_size=0'], 'train_dataloader.batch_size is 0: a whole number of at least 1'),
    (['train_dataloader.num_workers=-1'], 'train_dataloader.num_workers is -1'),
    (['train_cfg.max_epochs=1.5'], 'train_cfg.max_epochs is 1.5'),
    (['train_cfg.val_interval=0'], 'train_cfg.val_interval is 0: a whole number of at least 1'),
    (['val_evaluator=None'], 'the config has val_dataloader and val_cfg and no val_evaluator'),
    (['optim_wrapper.optimizer.lr=fast'],
     "optim_wrapper.optimizer.lr is the text 'fast': a number is wanted"),
    (['model.backbone.depth.x=1'], 'does not fit the config detection.py'),
    (['data_root=3'], 'a folder is wanted'),
])
def test_options_that_do_not_fit(options, reported, refused):
    assert reported in refuse_training(refused, 'detection', '--cfg-options', *options)


def test_flags_that_cannot_be_used(refused, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'needs a GPU' in refuse_training(refused, 'detection', '--amp')
    message = refuse_training(refused, 'detection', '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None')
    assert 'base_batch_size' in message
    assert 'tools/dist_train.sh' in refuse_training(refused, 'detection', '--launcher', 'pytorch')
    assert "invalid choice: 'ssh'" in refuse_training(refused, 'detection', '--launcher', 'ssh')
    assert 'needs a display' in refused('test', 'detection.py', 'x.pth', '--show')
    assert 'must end in .pkl' in refused('test', 'detection.py', 'x.pth', '--out', 'x.json')


# Data


def test_coco_absent(place, refused, monkeypatch):
    monkeypatch.setenv('MOBILEODE_DATA', str(place / 'mine'))
    message = refused('train', ROOT / 'configs/ssdlite_mobileode.py')
    assert message.startswith(f'COCO 2017 not found: there is no {place}/mine/coco')
    assert 'annotations_trainval2017.zip' in message
    assert str(ROOT / 'configs/ssdlite_mobileode_mini.py') in message
    assert 'MOBILEODE_DATA' in message and 'data_root=' in message


def test_mini_data_absent(place, refused, monkeypatch):
    monkeypatch.setenv('MOBILEODE_DATA', str(place / 'mine'))
    message = refused('train', ROOT / 'configs/ssdlite_mobileode_mini.py')
    assert f'mobileode mini-data --out {place}/mine/mini\n' in message


@pytest.mark.parametrize('task, path', [
    ('detection', 'coco/annotations/val.json'), ('detection', 'coco/train'), ('segmentation', 'voc/train.txt'),
    ('segmentation', 'voc/SegmentationClass'), ('classification', 'folders'), ('classification', 'folders/val')])
def test_part_of_the_data_absent(task, path, place, refused):
    (place / 'data' / path).rename(place / 'away')
    message = refuse_training(refused, task)
    assert f'there is no {place}/data/{path}' in message.replace('/.', '.').replace('//', '/')


@pytest.fixture
def cifar10(place, monkeypatch):
    """A miniature in CIFAR-10's layout, its own checksums in place of the published ones."""
    from mmpretrain.datasets import CIFAR10
    folder = place / 'data/cifar10/cifar-10-batches-py'
    folder.mkdir(parents=True)
    for kind in ('train_list', 'test_list'):
        for name, _ in getattr(CIFAR10, kind):
            (folder / name).write_bytes(name.encode())
        monkeypatch.setattr(CIFAR10, kind, [(name, hashlib.md5(name.encode()).hexdigest())
                                            for name, _ in getattr(CIFAR10, kind)])
    return folder


def test_cifar10_broken(cifar10, refused):
    config = ROOT / 'configs/classify_mobileode_cifar10.py'
    # A training reads the test images too, and a file of either split spoils both.
    for name in ('data_batch_3', 'test_batch'):
        whole = (cifar10 / name).read_bytes()
        (cifar10 / name).write_bytes(whole[:-3])
        message = refused('train', config)
        assert message.startswith(f'data/cifar10/cifar-10-batches-py/{name}: not the published file, or a torn one')
        assert 'Get it again: https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz' in message
        (cifar10 / name).unlink()
        message = refused('train', config)
        assert message.startswith(f'CIFAR-10 not found: there is no {cifar10 / name}')
        assert 'To get it: https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz' in message
        assert 'classify_mobileode_cifar10_mini.py' in message
        (cifar10 / name).write_bytes(whole)
    message = refused('train', config, '--cfg-options', 'model.head.num_classes=7')
    assert f'head.num_classes is 7, but {cifar10.relative_to(Path.cwd())} is used with 10 classes' in message


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1))


def test_annotations_of_other_classes(place, refused):
    edit(place / 'data/coco/annotations/val.json',
         lambda document: document['categories'][1].update(name='yellow'))
    message = refuse_training(refused, 'detection')
    assert 'data/coco/annotations/val.json has other classes than the config' in message
    assert 'green of the config' in message and 'red, yellow, blue' in message


def test_annotations_in_another_order_of_classes(place, refused):
    edit(place / 'data/coco/annotations/train.json', lambda document: document['categories'].reverse())
    message = refuse_training(refused, 'detection')
    assert 'another order' in message and 'blue, green, red' in message


@pytest.mark.parametrize('task, key', [
    ('detection', 'bbox_head'), ('segmentation', 'decode_head'), ('classification', 'head')])
def test_head_of_another_number_of_classes(task, key, refused):
    message = refuse_training(refused, task, '--cfg-options', f'model.{key}.num_classes=7')
    assert f'{key}.num_classes is 7, but ' in message
    assert 'red, green, blue' in message or 'blue, green, red' in message


def test_broken_json(place, refused):
    path = place / 'data/coco/annotations/train.json'
    path.write_text(path.read_text()[:-300])
    message = refuse_training(refused, 'detection')
    line = len(path.read_text().splitlines())
    assert f'data/coco/annotations/train.json is broken JSON at line {line}, column ' in message


@pytest.mark.parametrize('text, reported', [
    ('[]', 'no list "images"'), ('{"images": [{}], "categories": []}', 'classes')])
def test_json_that_is_no_coco(text, reported, place, refused):
    (place / 'data/coco/annotations/train.json').write_text(text)
    assert reported in refuse_training(refused, 'detection')


def test_annotation_entry_without_a_key(place, refused):
    edit(place / 'data/coco/annotations/train.json', lambda document: document['images'][4].pop('width'))
    message = refuse_training(refused, 'detection')
    assert 'train.json: 1 of 16 entries of "images" cannot be used' in message and 'images[4] lacks "width"' in message


IMAGES = [('detection', 'coco/train', 'jpg', 'images'), ('segmentation', 'voc/JPEGImages', 'jpg', 'images'),
          ('segmentation', 'voc/SegmentationClass', 'png', 'label maps'),
          ('classification', 'folders/train/red', 'png', 'images')]


@pytest.mark.parametrize('task, folder, suffix, what', IMAGES)
def test_images_that_cannot_be_read(task, folder, suffix, what, place, refused):
    image = place / 'data' / folder / f'train_3.{suffix}'
    whole = image.read_bytes()
    for content in (whole[:len(whole) // 2], b'no image at all', b''):
        image.write_bytes(content)
        message = refuse_training(refused, task)
        assert f'1 of 16 {what} of ' in message
        assert f'data/{folder}/train_3.{suffix}' in message
        assert ('cannot be used' if content else 'empty') in message


@pytest.mark.parametrize('task, folder, suffix, what', IMAGES[:3])
def test_images_missing(task, folder, suffix, what, place, refused):
    for number in range(8):
        (place / 'data' / folder / f'train_{number}.{suffix}').unlink()
    message = refuse_training(refused, task)
    assert f'8 of 16 {what} of ' in message and 'do not exist' in message
    assert f'{folder}/train_0.{suffix}' in message and 'and 3 more' in message


def test_label_of_no_class(place, refused):
    import cv2
    path = place / 'data/voc/SegmentationClass/train_2.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[0, 0] = 255  # ignored
    cv2.imwrite(str(path), labels)
    labels[0, 1] = 4
    cv2.imwrite(str(path), labels)
    message = refuse_training(refused, 'segmentation')
    assert 'train_2.png (holds label 4, the config has 4 classes)' in message


def test_class_folders_that_differ(place, refused):
    (place / 'data/folders/val/red').rename(place / 'data/folders/val/rouge')
    message = refuse_training(refused, 'classification')
    assert 'different class folders' in message and 'red, rouge' in message
    message = refuse_training(refused, 'classification', '--cfg-options',
                              'train_dataloader.dataset.metainfo.classes=[red,green]')
    assert '3 class folders (blue, green, red), the config 2 classes' in message


# Folders and checkpoints


@pytest.mark.parametrize('work_dir', ['detection.py', 'detection.py/runs', '/proc/mine'])
def test_work_dir_not_writable(work_dir, refused):
    message = refuse_training(refused, 'detection', '--work-dir', work_dir)
    assert message.startswith(f'the work dir {work_dir} cannot be written')
    assert '--work-dir' in message


def test_work_dir_of_an_earlier_run(place, refused):
    (place / 'work_dirs/detection').mkdir(parents=True)
    (place / 'work_dirs/detection/epoch_7.pth').write_bytes(b'precious')
    message = refuse_training(refused, 'detection')
    assert 'epoch_7.pth' in message and '--resume' in message and '--work-dir' in message


def test_output_that_exists(place, refused):
    (place / 'old.pkl').write_bytes(b'precious')
    assert 'old.pkl exists already' in refused('test', 'detection.py', 'x.pth', '--out', 'old.pkl')
    assert 'data exists already' in refused('test', 'detection.py', 'x.pth', '--show-dir', 'data')


@pytest.fixture
def model(place):
    """The segmentor of the config, to make checkpoints from."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope
    cfg = Config.fromfile('segmentation.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg.model)


def test_checkpoint_of_another_network(model, refused):
    state = {name.replace('layer', 'stage'): value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state), 'other.pth')
    for command, args in (('test', ['other.pth']), ('train', ['--resume', 'other.pth']),
                          ('train', ['--cfg-options', 'load_from=other.pth'])):
        message = refused(command, 'segmentation.py', *args)
        assert 'other.pth is a checkpoint of another network' in message
        assert 'missing: backbone.layer1.0.conv1.weight' in message
        assert 'unexpected: backbone.stage1.0.conv1.weight' in message


def test_pretrained_backbone_of_another_network(model, refused):
    torch.save({f'backbone.stage.{name}': value for name, value in model.backbone.state_dict().items()}, 'other.pth')
    init_cfg = [f'model.backbone.init_cfg.{option}' for option in ('type=Pretrained', 'checkpoint=other.pth')]
    for prefix in ([], ['model.backbone.init_cfg.prefix=backbone.']):
        message = refuse_training(refused, 'segmentation', '--cfg-options', *init_cfg, *prefix)
        assert 'other.pth is a checkpoint of another network: 0 of' in message


@pytest.mark.parametrize('content', [b'', b'no checkpoint', None])
def test_checkpoint_that_cannot_be_read(content, model, place, refused):
    torch.save(dict(state_dict=model.state_dict()), 'torn.pth')
    data = (place / 'torn.pth').read_bytes()
    (place / 'torn.pth').write_bytes(data[:-50] if content is None else content)
    for command, args in (('test', ['torn.pth']), ('train', ['--resume', 'torn.pth'])):
        assert 'torn.pth is no checkpoint, or a torn one' in refused(command, 'segmentation.py', *args)


def test_checkpoint_absent(refused):
    assert refused('test', 'segmentation.py', 'absent.pth') == 'there is no checkpoint file absent.pth\n'
    assert 'absent.pth' in refuse_training(refused, 'segmentation', '--resume', 'absent.pth')


def test_a_folder_in_the_place_of_a_checkpoint(place, refused):
    (place / 'work').mkdir()
    for number in range(2):
        (place / f'work/epoch_{number}.pth').touch()
        os.utime(place / f'work/epoch_{number}.pth', (100 - number, 100 - number))
    assert refused('test', 'segmentation.py', 'work') == (
        'there is no checkpoint file work; the newest of the folder is work/epoch_0.pth\n')


# What shows only when the run is built, or in the run


def test_optimizer_unknown(refused):
    message = refuse_training(refused, 'segmentation', '--cfg-options', 'optim_wrapper.optimizer.type=AdamWW')
    assert "optim_wrapper.optimizer.type is 'AdamWW'" in message and 'nearest names: AdamW' in message


@pytest.mark.slow
@pytest.mark.parametrize('option, reported', [
    ('optim_wrapper.optimizer.speed=1', "unexpected keyword argument 'speed'"),
    ('param_scheduler.0.type=Steps', 'Steps is not in the')])
def test_optimizer_and_schedule_that_cannot_be_built(option, reported, shared_place, run):
    status, _, err = run(shared_place, 'train.py', 'segmentation.py', '--work-dir', 'wrong', '--cfg-new', option)
    assert status == 2
    assert 'Traceback' not in err and reported in err[err.index('error: '):]


@pytest.mark.parametrize('name', ['FittedDetector', 'mobileode_mm.FittedDetector'])
def test_a_part_of_ours_that_was_not_imported(name):
    with pytest.raises(InputError, match="mine.py cannot be built: FittedDetector is not imported: write "
                                         "type='mobileode_mm.detection.FittedDetector'"):
        with config_errors('mine.py'):
            Registry('model').build(dict(type=name))


def test_a_transform_whose_package_is_not_installed():
    """Of mmdet, which tells it by a RuntimeError."""
    if find_spec('albumentations'):
        pytest.skip('albumentations is installed')
    from mmdet.registry import TRANSFORMS as mmdets
    with pytest.raises(InputError, match='mine.py cannot be built: albumentations is not installed'):
        with config_errors('mine.py'):
            mmdets.build(dict(type='mmdet.Albu', transforms=[dict(type='Blur')]))


def test_an_assertion_without_words():
    with pytest.raises(InputError, match='mine.py cannot be built: assert 0 <= prob <= 1'):
        with config_errors('mine.py'):
            TRANSFORMS.build(dict(type='RandomFlip', prob=1.5))


def test_a_runner_of_another_kind(refused):
    message = refuse_training(refused, 'classification', '--cfg-new', 'runner_type=FlexibleRunner')
    assert 'runner_type is FlexibleRunner, whose strategy' in message and 'remove runner_type' in message


def test_weights_of_the_stock_backbone():
    with pytest.raises(InputError, match="argument 'pretrained'; .*set model.pretrained=None"):
        with config_errors('mine.py'):
            MODELS.build(dict(type='MobileODEV1', pretrained='open-mmlab://resnet50_v1c'))


@pytest.mark.parametrize('settings, reported', [
    (dict(type='MultiStepLR', milestones=[1], gama=0.1), "unexpected keyword argument 'gama'"),
    (dict(type='LinearLR', start_factor=0.1, begin=5, end=3), 'end should be larger than begin'),
])
def test_schedule_that_cannot_be_built(settings, reported, place, capsys):
    """Told when the Runner is built, before the first iteration."""
    (place / 'mine.py').write_text(f"_base_ = 'classification.py'\nparam_scheduler = [{settings!r}]\n")
    assert main(['train', 'mine.py']) == 2
    captured = capsys.readouterr()
    assert 'mine.py cannot be built: ' in captured.err and reported in captured.err and 'Traceback' not in captured.err
    assert 'Epoch(train)' not in captured.out + captured.err


@pytest.mark.parametrize('settings, reported', [
    (dict(type='LinearLR', start_factor=0, end=3), 'param_scheduler.0.start_factor is 0'),
    (dict(type='ConstantLR', factor=0., end=1), 'param_scheduler.0.factor is 0')])
def test_schedule_that_would_divide_by_0(settings, reported, place, refused):
    (place / 'mine.py').write_text(f"_base_ = 'classification.py'\nparam_scheduler = [{settings!r}]\n")
    assert reported in refused('train', 'mine.py')


def test_metric_that_validation_does_not_give(refused):
    message = refuse_training(refused, 'detection', '--cfg-options', 'default_hooks.checkpoint.save_best=bbox_mAP')
    assert "default_hooks.checkpoint.save_best is 'bbox_mAP'" in message and 'nearest: coco/bbox_mAP.' in message


BREAKER = '''
from importlib.util import find_spec
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Breaker(Hook):

    def __init__(self, path, how):
        self.path, self.how = Path(path), how

    def after_train_epoch(self, runner):
        if self.how == 'truncate':
            self.path.write_bytes(self.path.read_bytes()[:200])
        elif self.path.exists():
            self.path.unlink()
'''


@pytest.mark.parametrize('path, how, reported', [
    ('JPEGImages/train_3.jpg', 'truncate', 'became unreadable'),
    ('SegmentationClass/train_3.png', 'truncate', 'became unusable'),
    pytest.param('JPEGImages/train_3.jpg', 'remove', 'vanished', marks=pytest.mark.slow),
])
@pytest.mark.slow
def test_image_that_breaks_during_the_run(path, how, reported, place, run):
    (place / 'breaker.py').write_text(BREAKER)
    (place / 'mine.py').write_text(
        "_base_ = './segmentation.py'\ncustom_imports = dict(imports=['breaker'])\n"
        f"custom_hooks = [dict(type='Breaker', path='data/voc/{path}', how='{how}')]\n")
    status, _, err = run(place, 'train.py', 'mine.py', PYTHONPATH=str(place))
    assert status == 2
    assert 'Traceback' not in err
    message = err[err.index('error: '):]
    assert f'data/voc/{path}' in message and reported in message
    assert message.count('\n') == 1


KILLER = '''
import os
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from torch.utils.data import get_worker_info


@TRANSFORMS.register_module()
class Killer(BaseTransform):
    """What the system does where memory runs out: it ends the process."""

    def transform(self, results):
        if get_worker_info() is not None:
            os.kill(os.getpid(), 9)
        return results
'''


def test_a_worker_that_is_killed(place, run):
    (place / 'killer.py').write_text(KILLER)
    (place / 'mine.py').write_text(
        "_base_ = './classification.py'\ncustom_imports = dict(imports=['killer'])\n"
        "train_dataloader = dict(num_workers=1, dataset=dict(pipeline=[*_base_.train_dataloader.dataset.pipeline,"
        " dict(type='Killer')]))\n")
    status, _, err = run(place, 'train.py', 'mine.py')
    assert status == 2 and 'Traceback' not in err
    # Which of the two torch says depends on when it looks.
    assert re.match('error: a worker of a dataloader (is killed by signal: Killed|exited unexpectedly).*num_work', err)


def test_fewer_images_than_a_batch(place, capsys):
    """Told by the built loader, so the Runner has made its folder by then."""
    options = ['train_dataloader.batch_size=1000', 'train_dataloader.drop_last=True']
    assert main(['train', 'detection.py', '--cfg-options', *options]) == 2
    message = capsys.readouterr().err
    assert 'train_dataloader gives no batch' in message and 'batch_size' in message and 'Traceback' not in message
