"""The command on configs of the three tasks, and on what cannot be counted."""
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.complexity import tables
from benchmarks.complexity.from_config import count_config, default_shape
from benchmarks.complexity.tables import TASKS, networks
from benchmarks.output import markdown
from mobileode_mm import cli
from mobileode_mm.errors import InputError


def main(arguments):
    return cli.main(['flops', *arguments])


CONFIGS = Path(__file__).parents[3] / 'configs'


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data are to be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path / 'nothing'))


@pytest.mark.parametrize('config, parts', [
    ('ssdlite_mobileode_v2.py', ('backbone.stage5', 'neck', 'bbox_head', 'COS resize')),
    ('peers/deeplabv3_mobilenetv2.py', ('backbone.layer7', 'decode_head', 'depthwise convolution')),
    ('classify_mobileode.py', ('backbone.stage5', 'neck', 'head', 'COS matrix product')),
])
def test_three_tasks(config, parts, capsys):
    assert main([str(CONFIGS / config), '--shape', '64', '96']) == 0
    out = capsys.readouterr().out
    assert out.startswith(f'{CONFIGS / config}, 64×96 px (height × width)\n')
    assert 'MACs: ' in out and 'FLOPs: ' in out and 'activations: ' in out and 'Not counted' not in out
    assert all(f'| {part} |' in out for part in parts)
    assert ('in auxiliary_head' in out) == ('deeplab' in config)


def test_options_and_the_config_s_own_size(capsys):
    assert main([str(CONFIGS / 'classify_mobileode_cifar10.py'), '--cfg-options', 'model.backbone.num_steps=10']) == 0
    out = capsys.readouterr().out
    assert '32×32 px' in out
    # The released V1 has 614,034 with L = 3; seven steps more are 7·(q² + 1) in each of its solvers.
    assert f'parameters: {614034 + 7 * (145 + 257 + 6 * 577):,}\n' in out


@pytest.mark.parametrize('config, shape', [
    ('peers/ssdlite_mobilenetv1.py', (320, 320)), ('peers/deeplabv3_mobilenetv1.py', (512, 512)),
    ('peers/classify_mobilenetv1.py', (256, 256)), ('peers/classify_mobilenetv1_cifar10.py', (32, 32)),
    ('classify_mobileode_mini.py', (64, 64))])
def test_default_shape(config, shape):
    assert default_shape(Config.fromfile(CONFIGS / config)) == shape


def test_oblong_size_of_a_toolbox_config():
    resize = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[[resize], [dict(type='Pack')]])]
    cfg = Config(dict(model=dict(backbone={}), test_dataloader=dict(
        dataset=dict(type='RepeatDataset', dataset=dict(pipeline=pipeline)))))
    assert default_shape(cfg) == (800, 1333)


NO_BACKBONE = """
default_scope = 'mmdet'
model = dict(type='SemiBaseDetector', detector=dict(backbone=dict(type='MobileNetV1')))
"""


@pytest.mark.parametrize('args, message', [
    ([str(CONFIGS / 'ssdlite_mobilode.py')], 'there is no config'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--shape', '16', '320'], 'the shape 16 320 is no height and width of 32'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--shape', '320'], '--shape 320: two whole numbers are wanted'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--shape', '320', '-1'], '--shape'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--shape', '3e2', '320'], '--shape 3e2 320: two whole numbers'),
    ([str(CONFIGS / 'peers/classify_mobilenetv1_mini.py')],
     'does not say how large its images are; give --shape H W'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--cfg-options', 'model.backbone.out_indices=(2,3)'],
     'Set model.backbone'),
    ([str(CONFIGS / 'ssdlite_mobileode.py'), '--cfg-options', 'model.backbone.num_steps=0'], 'nearest legal: 1'),
    (['own.py'], 'own.py has no model.backbone'),
    (['empty.py'], 'empty.py has no model.backbone'),
    ([], 'name one config'),
    (['own.py', '--table'], 'name one config'),
])
def test_bad_input(args, message, capsys):
    Path('own.py').write_text(NO_BACKBONE)
    Path('empty.py').write_text('data_root = "data/coco/"\n')
    began = time.monotonic()
    try:
        status = main(args)
    except SystemExit as usage:  # argparse takes -1 for an option
        status = usage.code
    assert status == 2 and time.monotonic() - began < 20  # the toolboxes' imports included
    captured = capsys.readouterr()
    assert captured.err.count('error: ') == 1 and message in captured.err and captured.out == ''


def test_a_shape_that_the_network_refuses():
    cfg = Config(dict(default_scope='mmpretrain', model=dict(
        type='ImageClassifier', backbone=dict(type='AlexNet', num_classes=2))))
    assert count_config(cfg, (224, 224))[0].cost.macs > 0
    with pytest.raises(InputError, match='cannot be run on an image of 64x64 px'):
        count_config(cfg, (64, 64))


def test_table(monkeypatch):
    wanted = ('MobileODE V2, width 0.5, L = 3', 'ShuffleNetV2 0.5x', 'GhostNet 1.0x (timm)')
    rows = [network for network in networks() if network.name in wanted]
    assert len(rows) == 3
    monkeypatch.setattr(type(rows[0]), 'is_available', property(lambda self: self.needs == 'mmengine'))
    monkeypatch.setattr(tables, 'networks', lambda: rows)
    text = markdown(tables.tables())
    assert text.count('| MobileODE V2, width 0.5, L = 3 |') == 3 and text.count('| ShuffleNetV2 0.5x |') == 2
    assert text.count('timm is not installed') == 2 and text.count('### ') == len(TASKS) == 3
    # arXiv:1807.11164: 1.4 million parameters, 41 million multiply-adds at 224 px.
    row = next(line for line in text.splitlines() if line.startswith('| ShuffleNetV2'))
    parameters, macs = row.split(' | ')[3:5]
    assert parameters == '1.367' and float(macs) * (224 / 256) ** 2 == pytest.approx(41, abs=1)


def test_rows_name_backbones_of_the_configs():
    """A peer in the tables is the one that the configs train."""
    def plain(value):
        return {key: item for key, item in dict(value).items()}
    for task, prefix in zip(tuple(TASKS)[1:], ('ssdlite', 'deeplabv3')):
        for name, row in (('mobilenetv1', 'MobileNetV1'), ('mobilenetv2', 'MobileNetV2'),
                          ('mobilenetv3', 'MobileNetV3-Large')):
            network = next(network for network in networks() if network.name == row)
            config = Config.fromfile(CONFIGS / f'peers/{prefix}_{name}.py')
            assert network.backbones[task] == plain(config.model.backbone)
        for version, suffix in (('V1', ''), ('V2', '_v2')):
            network = next(network for network in networks() if network.name == f'MobileODE {version}, width 1, L = 3')
            ours = dict(network.backbones[task])
            assert (ours.pop('num_steps'), ours.pop('widen_factor')) == (3, 1.0)
            assert ours == plain(Config.fromfile(CONFIGS / f'{prefix}_mobileode{suffix}.py').model.backbone)
