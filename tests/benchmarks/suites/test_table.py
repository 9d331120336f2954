"""Means, spreads, Pareto fronts and the pages made of them."""
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.charts import pareto_front
from benchmarks.suites.page import html_page
from benchmarks.suites.suite import Network, Suite
from benchmarks.suites.table import latency_note, markdown, summarize, summary, tables

AP = 'coco/bbox_mAP'


def make_content(latency=True):
    """Of two backbones with three seeds: one is sound, of the other one run diverged and one failed."""
    networks = tuple(Network('detection', name, Path('c.py'), {}, (192, 128), (AP, )) for name in ('<A>', 'B|b'))
    suite = Suite('some', 'Described.', networks, (0, 1, 2), False, reference='B|b')
    results = {'<A>': [('done', .30), ('done', .32), ('done', .37)],
               'B|b': [('done', .5), ('diverged', None), ('failed', None)]}
    runs = [dict(task='detection', backbone=name, seed=seed, status=status, metrics={AP: value}, machine='a machine',
                 reason='' if status == 'done' else f'why {status}', commit='abc')
            for name, outcomes in results.items() for seed, (status, value) in enumerate(outcomes)]
    latency = dict(rounds=30, device='cpu', threads=1, machine='a machine', times=[
        dict(task='detection', backbone=name, milliseconds=time, onnx_milliseconds=in_file)
        for name, time, in_file in (('<A>', 4., 3.), ('B|b', 8., None if latency == 'in PyTorch' else 5.))]
    ) if latency else None
    for run in runs:
        run['curve'] = [dict([('step', step), (AP, run['seed'] / 10 + step / 100)]) for step in (1, 2)]
    costs = [dict(parameters=1_500_000, macs=20_000_000), dict(parameters=2_500_000, macs=10_000_000)]
    return dict(suite=suite.name, description=suite.description, seeds=[0, 1, 2], processes=1, command='python x',
                machine='a machine', commit='abc', runs=runs, latency=latency, starts_from={'detection': 'colours'},
                left_out=[dict(task='segmentation', backbone='<A>', reason='it cannot be dilated')], reference='B|b',
                networks=summarize(suite, runs, costs, latency))


def test_mean_and_spread_over_seeds():
    good, bad = make_content()['networks']
    values = 100 * np.array([.30, .32, .37])
    assert good['metrics'][0]['mean'] == pytest.approx(values.mean())
    assert good['metrics'][0]['spread'] == pytest.approx(values.std(ddof=1))
    assert bad['metrics'][0]['mean'] == 50 and bad['metrics'][0]['spread'] is None
    assert bad['others'] == dict(diverged=[1], failed=[2]) and bad['milliseconds'] == 8


def test_markdown_drops_no_run():
    text = markdown(make_content())
    assert text.startswith('# Suite `some`\n\nDescribed.\n\n**detection, 192×128 px**\n\n'
                           '| backbone | AP, % | runs |'), 'with one seed in common there are no differences'
    assert '| <A> | 33.0 [24.0,\xa042.0] | 3 of 3 | 1.50 | 20.0 | 3.0 | 4.0 |' in text
    assert '| B/b | 50.0 | 1 of 3; diverged: seed 1; failed: seed 2 | 2.50 | 10.0 | 5.0 | 8.0 |' in text, (
        'one run has no interval')
    assert '- detection, B|b, seed 1 diverged: why diverged' in text
    assert 'a machine' in text and 'Commit abc.' in text
    assert 'Left out of segmentation: <A> (it cannot be dilated).' in text
    assert 'Backbones of detection start from what the run of colours with the same seed left.' in text


def test_a_column_that_would_say_nothing_is_left_out():
    content = make_content(latency=False)
    assert 'onnxruntime' not in markdown(content) and 'PyTorch' not in markdown(content)
    text = markdown(make_content(latency='in PyTorch'))
    assert '| 10.0 | – | 8.0 |' in text, 'in one of two it could be measured'
    for network in content['networks']:
        network['others'] = {}
        for metric in network['metrics']:
            metric['difference'] = None
    assert '| backbone | AP, % | parameters, M | MACs, M |' in markdown(content)
    content['networks'][0]['input_size'] = [64, 64]
    text = markdown(content)
    assert '**detection**' in text and '| backbone | AP, % | parameters, M | MACs, M | at |' in text
    assert '| 1.50 | 20.0 | 64×64 |' in text and '| 2.50 | 10.0 | 192×128 |' in text


def test_tasks_that_are_shown():
    content = make_content()
    content['networks'] += [dict(network, task=task) for network in content['networks'] for task in ('a', 'b')]
    text = tables(content, ['b', 'detection'], lambda task: f'charts of {task}')
    assert text.index('**b, 192×128 px**') < text.index('charts of b') < text.index('**detection, 192×128 px**')
    assert '**a, ' not in text


def test_a_line_for_each_backbone():
    networks = make_content()['networks']
    networks.append(dict(networks[1], task='segmentation', parameters=4_000_000))
    assert summary(networks).splitlines() == [
        '| backbone | detection, % | segmentation, % | parameters, M | MACs, M | onnxruntime, ms |',
        '| --- | --- | --- | --- | --- | --- |',
        '| <A> | AP 33.0 ± 3.6 | – | 1.50 | 20.0 | 3.0 |',
        '| B/b | AP 50.0, diverged: seed 1, failed: seed 2 | AP 50.0, diverged: seed 1, failed: seed 2 | 2.50, 4.00 '
        '| 10.0, 10.0 | 5.0, 5.0 |']


@pytest.mark.parametrize('others, threads, message, disturbed', [
    (-0.001, 2, '0.0 of 2 cores', False), (0.1, 2, '0.1 of 2 cores', False), (0.9, 2, '0.9 of 2 cores', True),
    (0.9, 1, '0.9 of 2 cores', False), (None, 2, None, False)])
def test_what_ran_beside_the_timings(others, threads, message, disturbed):
    note = latency_note(dict(make_content()['latency'], others=others, threads=threads, cores=2))
    assert ('Meanwhile' in note) == bool(message) and (not message or f'kept {message} busy' in note)
    assert ('disturbed' in note) == disturbed and note.endswith('.')


def test_page_is_one_file_with_charts():
    class Page(HTMLParser):
        svgs, cells, outside = 0, [], []

        def handle_starttag(self, tag, attrs):
            self.svgs += tag == 'svg'
            self.outside += [value for name, value in attrs if name in ('src', 'href') and not value.startswith('#')]

        def handle_data(self, data):
            self.cells.append(data)

    page = Page()
    text = html_page(make_content())
    page.feed(text)
    assert page.svgs == 2 and not page.outside, 'figures against costs, and over the training'
    assert 'AP of the validation, %' in text
    assert '<A>' in page.cells and '33.0 [24.0,\xa042.0]' in page.cells
    assert len(re.findall('id="pareto"', text)) == 4, 'parameters, multiply-adds, latency, onnxruntime'
    assert len(re.findall('id="pareto"', html_page(make_content(latency='in PyTorch')))) == 3
    assert html_page(make_content()) == text
    assert len(re.findall('id="pareto"', html_page(make_content(latency=False)))) == 2


def test_page_with_nothing_to_draw():
    content = make_content()
    content['networks'] = [dict(network, metrics=[dict(network['metrics'][0], runs=0, mean=None, spread=None)])
                           for network in content['networks']]
    assert 'Without a figure: &lt;A&gt;, B|b' in html_page(content)


def test_pareto_front():
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.integers(0, 8, (30, 2)).tolist()]
    beaten = {one for one in points for other in points
              if other != one and other[0] <= one[0] and other[1] >= one[1]}
    assert pareto_front(points) == sorted(set(points) - beaten)
