"""The comparison as a command: the gate before any speed, the report, bad input. No time is asserted."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.speed.compare import compare
from benchmarks.speed.report import page_text
from benchmarks.speed.variants import Case, Settings, backbone_cases, layer_cases
from mobileode_mm import cli
from mobileode_mm.ode import ChannelwiseODESolver


def main(arguments):
    return cli.main(['bench-torch', *arguments])


CONFIGS = Path(__file__).parents[3] / 'configs'
QUICK = ['--rounds', '2', '--seconds', '0.0001']


def report(out):
    text = (out / 'speed.json').read_text()
    return json.loads(text), (out / 'speed.md').read_text()


def labels(result):
    return [variant['label'] for variant in result['cases'][0]['variants']]


@pytest.mark.parametrize('mode', ['infer', 'train'])
def test_layer(mode, tmp_path, capsys):
    # two shapes, one that keeps its width on an oblong map
    page = tmp_path / 'page.md'
    page.write_text('<!-- torch: begin -->\n<!-- torch: end -->\n')
    assert main(['layer', '--shapes', '9-9-5x3', '16-4-4', '--mode', mode, '--num-steps', '3', '12',
                 '--out', str(tmp_path / 'out'), '--page', str(page), *QUICK]) == 0
    result, markdown = report(tmp_path / 'out')
    assert markdown.strip() == capsys.readouterr().out.strip()
    assert (result['subject'], result['mode'], result['dtype'], result['batch']) == ('layer', mode, 'float32', 1)
    assert [(case['title'], case['num_steps']) for case in result['cases']] == [
        ('9→9, 5×3', 3), ('9→9, 5×3', 12), ('16→4, 4×4', 3), ('16→4, 4×4', 12)]
    assert labels(result) == ['naive/eager', 'cos/eager', 'pointwise/eager', 'copy', 'product']
    for case in result['cases']:
        for variant in case['variants']:
            assert len(variant['samples_ms']) == 2 and variant['error'] is None
            assert set(variant['ratios']) == {'naive/eager', 'pointwise/eager'}
            floor = variant['label'] in ('copy', 'product')
            assert (variant['difference'] is None) == floor
            assert (variant['saved_bytes'] is not None) == (mode == 'train' and not floor)
        assert case['variants'][0]['ratios']['naive/eager']['median'] == 1
    assert result['geometric_means']['naive/eager']['naive/eager'] == pytest.approx(1)
    assert '**geometric mean**' in markdown and f'torch {torch.__version__.split("+")[0]}' in markdown
    assert ('| 12 over 3 |' in markdown) == (mode == 'train')
    # The page's own text has no headings, and is made again from the results beside it.
    text = page.read_text()
    assert '#' not in text and 'Milliseconds, median:\n\n|' in text and 'load average' in text
    assert page_text(json.loads((tmp_path / 'results/torch.json').read_text())) in text


def test_a_variant_with_wrong_numbers_is_not_timed(tmp_path, capsys, monkeypatch):
    right = ChannelwiseODESolver.forward
    monkeypatch.setattr(ChannelwiseODESolver, 'forward', lambda self, x: right(self, x) * 1.001)
    assert main(['layer', '--shapes', '9-9-4', '--out', str(tmp_path), *QUICK]) == 1
    result, markdown = report(tmp_path)
    naive, cos, pointwise, *_ = result['cases'][0]['variants']
    assert cos['samples_ms'] == [] and 'median_ms' not in cos and cos['difference'] == pytest.approx(1e-3, rel=0.01)
    assert 'output 0 differs by 1.0e-03' in cos['error'] and '**failed**' in markdown
    assert naive['samples_ms'] and pointwise['ratios']['naive/eager']
    assert 'failed: 9→9, 4×4: cos/eager' in capsys.readouterr().err


def test_a_wrong_gradient_fails_and_a_variant_that_breaks_does_not_stop_the_others():
    settings = Settings(train=True, batch=2)
    case, = layer_cases(settings, ['9-9-4'], ['naive', 'cos', 'pointwise'])

    def spoiled():
        naive, cos, pointwise = case.variants()

        def scaled_gradient():
            workload = cos.build()
            workload.module.delta_t.register_hook(lambda gradient: gradient * 1.01)
            return workload

        def broken():
            raise RuntimeError('no kernel\nfor this')

        return [naive, type(cos)('cos/eager', scaled_gradient, cos.expected),
                type(cos)('pointwise/eager', broken, pointwise.expected)]

    result = compare('layer', [Case('layer', case.title, 3, spoiled)], settings, ['naive'], 2, 0)
    naive, cos, pointwise = result['cases'][0]['variants']
    assert naive['error'] is None and naive['median_ms'] > 0
    assert 'gradient delta_t differs by 1.0e-02' in cos['error'] and not cos['samples_ms']
    assert pointwise['error'] == 'RuntimeError: no kernel'


@pytest.mark.parametrize('mode', ['infer', 'train'])
def test_backbone(mode, tmp_path):
    names = ['MobileODEV1', 'MobileODEV1:naive', 'mmdet.MobileNetV2']
    assert main(['backbone', *names, '--shape', '64x32', '--mode', mode, '--batch', '2', '--out', str(tmp_path),
                 *QUICK]) == 0
    result, _ = report(tmp_path)
    assert labels(result) == ['MobileODEV1/eager', 'MobileODEV1:naive/eager', 'mmdet.MobileNetV2/eager']
    assert result['baselines'] == ['mmdet.MobileNetV2'] and result['cases'][0]['title'] == '64×32 px'
    assert all(variant['peak_bytes'] > 0 for variant in result['cases'][0]['variants'])


def test_the_deploy_form_of_ours_and_of_a_toolbox(tmp_path):
    names = ['MobileODEV1', 'MobileODEV1:naive', 'mmdet.MobileNetV2']
    assert main(['backbone', *names, '--shape', '64x32', '--paths', 'eager', 'deploy', '--out', str(tmp_path),
                 *QUICK]) == 0
    result, _ = report(tmp_path)
    assert labels(result) == ['MobileODEV1/eager', 'MobileODEV1/deploy', 'MobileODEV1:naive/eager',
                              'mmdet.MobileNetV2/eager', 'mmdet.MobileNetV2/deploy']
    for network in backbone_cases(Settings(paths=('deploy', )), names[::2], (64, 32))[0].variants():
        norms = [module for module in network.build().module.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert not norms


@pytest.mark.parametrize('subject, config, size', [('detector', 'ssdlite_mobileode_mini.py', '96'),
                                                   ('segmentor', 'deeplabv3_mobileode_os16_mini.py', '64')])
def test_whole_models_predict_and_train(subject, config, size, tmp_path):
    path = str(CONFIGS / config)
    for mode in ('infer', 'train'):
        paths = ['eager', 'deploy'] if mode == 'infer' else ['eager']
        assert main([subject, path, f'{path}:naive', '--shape', size, '--mode', mode, '--paths', *paths,
                     '--out', str(tmp_path / mode), *QUICK]) == 0
        result, _ = report(tmp_path / mode)
        stem = config.removesuffix('.py')
        assert labels(result) == [*(f'{stem}/{path}' for path in paths), f'{stem}:naive/eager']


def test_the_detector_has_something_to_suppress():
    from benchmarks.speed.models import CANDIDATES_PER_IMAGE, model_cases
    case, = model_cases(Settings(), 'detector', [str(CONFIGS / 'ssdlite_mobileode_mini.py')], (96, 96))
    workload = case.variants()[0].build()
    scores = torch.cat([scores.permute(0, 2, 3, 1).reshape(-1, 11) for scores in workload.module(workload.inputs)[0]])
    passing = (scores.softmax(-1)[:, :-1] > workload.module.test_cfg['score_thr']).sum().item()
    assert passing == pytest.approx(CANDIDATES_PER_IMAGE, rel=0.05)
    workload.step()
    assert 0 < len(workload.samples[0].pred_instances) <= CANDIDATES_PER_IMAGE


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / 'speed.md').write_text('mine')
    assert main(['layer', '--shapes', '9-9-4', '--out', str(tmp_path), *QUICK]) == 2
    out, err = capsys.readouterr()
    assert 'would be written over' in err and out == ''
    assert [path.name for path in tmp_path.iterdir()] == ['speed.md']
    assert (tmp_path / 'speed.md').read_text() == 'mine'


@pytest.mark.parametrize('arguments, message', [
    (['backbone', 'mmdet.MobileNetV7'], "no backbone named 'mmdet.MobileNetV7'.*mmdet.MobileNetV2"),
    (['backbone', 'MobileNetV1:naive'], 'MobileNetV1 has no solver'),
    (['backbone', 'MobileNetV1:triton'], 'MobileNetV1 has no backends'),
    (['backbone', 'MobileODEV1', '--shape', '3by2'], "'3by2' is no size"),
    (['backbone', 'MobileODEV1', '--baseline', 'MobileODEV2'], 'it is not measured'),
    (['backbone', 'mmdet.MobileNetV2:lean'], 'MobileNetV2 has no backends'),
    (['backbone', '--paths', 'deploy', '--mode', 'train'], 'the deploy form is for inference alone'),
    (['detector', '--paths', 'eager', 'deploy', '--mode', 'train'], 'the deploy form is for inference alone'),
    (['layer', '--paths', 'deploy'], 'a layer is measured without a deploy form'),
    (['layer', '--paths', 'graph'], 'a CUDA graph needs a GPU'),
    (['detector', str(CONFIGS / 'ssdlite_mobileode_mini.py') + ':lean'], 'only ":naive" can stand, or a backend: auto'),
    (['detector', str(CONFIGS / 'peers/ssdlite_mobilenetv2_mini.py') + ':triton'], 'MobileNetV2 has no backends'),
    (['layer', '--shapes', '144-144'], "'144-144' is no layer"),
    (['layer', '--shapes', '144-145-4'], 'not a perfect square'),
    (['layer', '--variants', 'conv'], "no variant 'conv'"),
    (['detector', '--mode', 'train', '--batch', '1'], '--batch 2'),
    (['detector', 'configs/nothing.py'], 'there is no config'),
    (['segmentor', str(CONFIGS / 'ssdlite_mobileode.py')], 'no config of a segmentor'),
])
def test_bad_input(arguments, message, capsys):
    assert main([*arguments, *QUICK]) == 2
    out, err = capsys.readouterr()
    error = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(error) == 1 and out == ''
    assert re.search(message, error[0]), error[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='no C++ compiler is installed')
def test_compiled(tmp_path):
    for mode in ('infer', 'train'):
        assert main(['layer', '--shapes', '16-64-5', '--paths', 'eager', 'compiled', '--mode', mode, '--batch', '2',
                     '--out', str(tmp_path / mode), *QUICK]) == 0
        result, _ = report(tmp_path / mode)
        assert labels(result) == ['naive/eager', 'cos/eager', 'cos/compiled', 'pointwise/eager', 'pointwise/compiled',
                                  'copy', 'product']
