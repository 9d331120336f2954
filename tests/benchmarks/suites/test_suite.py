"""Reading suites; those of the project."""
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.suites import execution, load_suite, suite_names
from benchmarks.suites.run import Run
from mobileode_mm import cli
from mobileode_mm.backbones.timm_features import choose_maps
from mobileode_mm.checkpoints.matching import check_checkpoint
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config


def main(arguments):
    return cli.main(['suite', *arguments])


#: Suites with networks of timm, which cannot be read without it.
OF_TIMM = ('peers', 'trees', 'heads')
SUITES = {name: load_suite(name) for name in suite_names() if name not in OF_TIMM or find_spec('timm')}
# Backbones that no config of ours has: named in the suite by their type alone.
FOREIGN = [(name, network) for name, suite in SUITES.items() for network in suite.networks
           if network.backbone.startswith(('RegNet', 'ShuffleNet')) and name != 'voc_deeplabv3']


def test_shipped_suites():
    assert set(SUITES) >= {'demo', 'smoke', 'mini', 'coco_ssdlite', 'voc_deeplabv3', 'imagenet', 'cifar10'}
    mini = SUITES['mini']
    assert len({network.task for network in mini.networks}) == 3 and len(mini.networks) == 18
    assert mini.seeds == (0, 1, 2)
    # What its options for the classifiers' data are of.
    pipeline = load_config(mini.networks[0].config).train_dataloader.dataset.pipeline
    assert [step.type for step in pipeline[4:6]] == ['ColorJitter', 'Invert']
    assert all(suite.description and suite.networks for suite in SUITES.values())
    assert [(network.task, network.backbone) for network in SUITES['demo'].networks] == [
        (task, backbone) for task in ('detection', 'segmentation', 'classification')
        for backbone in ('MobileODE V1', 'MobileNetV2')]


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow) if name in OF_TIMM else name for name in SUITES])
def test_options_fit_the_configs_and_every_run_is_another(name, tmp_path):
    suite = SUITES[name]
    runs = [Run(network, seed, tmp_path) for network in suite.networks for seed in suite.seeds]
    identities = [run.settings()['identity'] for run in runs]
    assert len(set(identities)) == len(runs)
    assert identities[-1] == runs[-1].settings()['identity'], 'to ask is to change'
    for network in suite.networks:
        epochs = network.cfg_options.get('train_cfg.max_epochs')
        assert epochs is None or epochs == network.cfg_options['param_scheduler.1.end']


def test_classifications_that_may_be_copied_are_the_same(tmp_path):
    pytest.importorskip('timm', reason='timm is not installed')

    def identities(suite):
        return {network.slug: Run(network, 0, tmp_path / network.slug).settings()['identity']
                for network in SUITES[suite].networks if network.task == 'classification'}

    peers, trees, heads, transfer = map(identities, ('peers', 'trees', 'heads', 'transfer'))
    assert trees.items() <= peers.items() and transfer.items() <= peers.items()
    assert len(heads) == 4 and len(heads.items() & peers.items()) == 3


def test_a_named_run_brings_all_that_it_starts_from(tmp_path):
    base, runs = None, []
    for task in 'abc':
        base = Run(SUITES['mini'].networks[0], 0, tmp_path / 'runs' / task / 'v1/seed_0', base=base)
        runs.append(base)
    assert execution._chosen(runs, ['c/v1'], tmp_path) == runs[::-1]
    assert execution._chosen(runs, ['a/v1/seed_0'], tmp_path) == runs[:1]
    assert execution._chosen(runs, [], tmp_path) == runs


@pytest.mark.parametrize('name, network', FOREIGN, ids=lambda value: getattr(value, 'slug', value))
def test_backbones_by_name_build(name, network):
    cfg = load_config(network.config, network.cfg_options)
    with config_scope(cfg):
        assert type(build_model(cfg).backbone).__name__ in ('RegNet', 'ShuffleNetV2')


@pytest.mark.parametrize('name', OF_TIMM)
def test_without_timm_its_suites_say_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    choose_maps.cache_clear()
    with pytest.raises(InputError, match='pip install timm'):
        load_suite(name)


def test_peers_of_timm():
    pytest.importorskip('timm', reason='the extra timm is not installed')
    peers, trees = SUITES['peers'], SUITES['trees']
    left_out = {backbone: task for task, backbone, _ in peers.left_out}
    assert set(left_out.values()) == {'segmentation'} and 'RepViT-M0.9' in left_out and 'MobileOne-S0' not in left_out
    options = {network.slug: network.cfg_options['model.backbone'] for network in peers.networks + trees.networks
               if 'model.backbone' in network.cfg_options}
    assert [options[f'{task}/mobileone_s0'] for task in ('classification', 'detection', 'segmentation', 'trees')] == [
        dict(_delete_=True, type='TimmFeatures', name='mobileone_s0', strides=strides)
        for strides in (None, (16, 32), (8, 8), (8, 16, 32))]
    assert all(suite.reference == 'MobileNetV2' and len(suite.seeds) == 3 for suite in (peers, trees))
    assert len([network for network in trees.networks if network.task == 'trees']) == 11


@pytest.mark.slow
@pytest.mark.parametrize('name', SUITES)
def test_every_network_builds_and_fits_what_it_starts_from(name):
    built = {}
    for network in SUITES[name].networks:
        cfg = load_config(network.config, network.cfg_options)
        with config_scope(cfg):
            model = built[network.task, network.backbone] = build_model(cfg)
        if network.starts_from:
            check_checkpoint(model, built[network.starts_from, network.backbone].state_dict(), network.slug, 'finetune')


def test_the_suite_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[3] / 'docs/suites.md').read_text()
    (tmp_path / 'mine.py').write_text(re.search(r'```python\n(.*?)```', text, re.DOTALL)[1])
    networks = load_suite(tmp_path / 'mine.py').networks
    assert [(network.backbone, network.starts_from) for network in networks] == [
        (backbone, base) for base in (None, 'classification') for backbone in ('V1', 'V1, L = 6', 'V1, narrow head')]


def test_a_suite_may_start_from_one_of_the_project(tmp_path):
    (tmp_path / 'text.py').write_text(f"_base_ = {str(Path(execution.__file__).parent / 'configs/mini.py')!r}\n"
                                      'seeds = [7]\n')
    (tmp_path / 'lazy.py').write_text('from mmengine.config import read_base\n\nwith read_base():\n'
                                      '    from benchmarks.suites.configs.mini import *\nseeds = [7]\n')
    for name in ('text', 'lazy'):
        suite = load_suite(tmp_path / f'{name}.py')
        assert suite.networks == SUITES['mini'].networks and suite.seeds == (7, )


def test_unknown_suite(capsys):
    assert main(['medium']) == 2
    error = capsys.readouterr().err
    assert 'there is no suite medium' in error and 'mini' in error and 'coco_ssdlite' in error


@pytest.mark.parametrize('old, new, message', [
    ("'good': dict(config='v1'", "'good': dict(config='v7'", r'wants tiny_v7.py .*exist|Backbones with .*: v1$'),
    ('input_size', 'size', 'the task colours has size; known are'),
    ('seeds = [0]', 'seeds = [0, 0]', r'seeds is \[0, 0\]'),
    ('seeds = [0]', '', 'the suite has no seeds'),
    ('seeds = [0]', 'seeds = [', 'cannot read the suite'),
    ("'broken'", "'Good'", 'differ in signs and capitals only'),
    ('input_size', 'epochs=0.5, input_size', 'epochs is 0.5: a whole number'),
    ('input_size', "starts_from='shapes', input_size", "colours starts from 'shapes': a task above it .* is none"),
    ('input_size', "starts_from='colours', input_size", "colours starts from 'colours': a task above it"),
    ('input_size', 'val_interval=0, input_size', 'val_interval is 0: a whole number'),
    ('seeds = [0]', "seeds = [0]\nreference = 'best'", "reference is 'best', which is none of the backbones good, "),
])
def test_faults_in_a_suite(old, new, message, place):
    path = place / 'suite.py'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        load_suite('suite.py')


SCHEDULERS = '''
param_scheduler = [
    dict(type='LinearLR', start_factor=.1, by_epoch=False, begin=0, end=3),
    dict(type='LinearLR', start_factor=.1, begin=0, end=1),
    dict(type='CosineAnnealingLR', begin=1, end=3, T_max={T_max})]
'''


@pytest.fixture
def six_epochs(place):
    """Give the suite six epochs, and its config's three what is message; return the suite."""

    def load(config):
        (place / 'suite.py').write_text((place / 'suite.py').read_text().replace('input_size', 'epochs=6, input_size'))
        with open(place / 'tiny_v1.py', 'a') as file:
            file.write(config)
        return load_suite('suite.py')

    return load


@pytest.mark.parametrize('before, after', [(3, 6), (2, 5), (9, 9)])
def test_another_number_of_epochs(before, after, six_epochs):
    network = six_epochs(SCHEDULERS.format(T_max=before)).networks[0]
    cfg = Config.fromfile(network.config, import_custom_modules=False)
    cfg.merge_from_dict(network.cfg_options)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=6)
    # The first counts iterations, the second ends before the training does.
    assert [scheduler['end'] for scheduler in cfg.param_scheduler] == [3, 1, 6]
    assert cfg.param_scheduler[2].T_max == after


@pytest.mark.parametrize('config, message', [
    ("param_scheduler = [dict(type='MultiStepLR', milestones=[2], gamma=.1)]", 'has milestones for 3 epochs'),
    ("train_cfg = dict(type='IterBasedTrainLoop', max_iters=9)", r'tiny_v1.py has no train_cfg.max_epochs'),
    ("train_cfg.update(max_epochs=30)\nparam_scheduler = [dict(type='LinearLR', end=7)]", 'tiny_v1.py ends after 7'),
    ("train_cfg.update(max_epochs=30)\nparam_scheduler = [dict(type='CosineAnnealingLR', begin=6, T_max=24)]",
     'tiny_v1.py begins after 6'),
])
def test_epochs_do_not_fit_the_schedule(config, message, six_epochs):
    with pytest.raises(InputError, match=message):
        six_epochs(config)


def test_no_configs_at_all(place):
    (place / 'tiny_v1.py').unlink()
    with pytest.raises(InputError, match='from the checkout'):
        load_suite('suite.py')
