"""``mobileode gpu``: the dry run through every part, what it refuses, journals, and what the results come to."""
import json
import time

import pytest
import torch

pytest.importorskip('triton')
from benchmarks.gpu_parts import PARTS, layers, page, parity, proposal, tuning  # noqa: E402 (they need Triton)
from benchmarks.gpu_parts.part import Case, Journal, Plan, journal_of  # noqa: E402
from benchmarks.gpu_parts.worker import work  # noqa: E402
from mobileode_mm import cli  # noqa: E402
from mobileode_mm.ode.backends import gpus, triton_blocks  # noqa: E402


def test_dry_run(tmp_path, capsys):
    assert cli.main(['gpu', '--out', str(tmp_path), '--dry-run', '--minutes', '4']) == 0
    summary = (tmp_path / 'gpu.md').read_text()
    assert summary in capsys.readouterr().out
    for part in PARTS:
        result = json.loads((tmp_path / f'{part}.json').read_text())
        assert result['is_complete'] and result['is_dry'] and result['rows'], part
        assert not [row for row in result['rows'] if row['error'] is not None]
        assert '**Dry run**' in (tmp_path / f'{part}.md').read_text()
        assert f'[{part}]({part}.md)' in summary
    assert {path.name for path in tmp_path.iterdir()} == {
        'gpu.md', 'parity.log', *(f'{part}.{suffix}' for part in PARTS for suffix in ('json', 'md'))}


def test_results_are_not_written_over(tmp_path, capsys):
    (tmp_path / 'layers.json').write_text('mine')
    assert cli.main(['gpu', '--out', str(tmp_path), '--dry-run', '--only', 'layers']) == 2
    assert 'would be written over' in capsys.readouterr().err
    assert (tmp_path / 'layers.json').read_text() == 'mine'


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU is here')
def test_without_a_gpu(tmp_path, capsys):
    assert cli.main(['gpu', '--out', str(tmp_path / 'out')]) == 2
    assert 'torch finds no GPU here; --dry-run' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.fixture
def plan(tmp_path):
    return Plan(tmp_path, torch.device('cpu'), True, time.time() + 100)


def test_a_case_that_fails_does_not_stop_the_next_and_none_runs_twice(plan, monkeypatch):
    ran = []

    def case(name, fault=None):
        def run():
            ran.append(name)
            if fault:
                raise fault
            return dict(value=1)
        return Case(name, run, name)

    monkeypatch.setattr(parity, 'cases', lambda plan: [case('a'), case('b', ValueError('first\nsecond')), case('c')])
    journal = journal_of(plan.folder, 'parity', 0)
    journal.begin('a')  # by a process that has died of it
    assert work(plan, 'parity', 0, 1)
    begun, rows = journal.read()
    assert ran == ['b', 'c'] and begun == ['a', 'b', 'c']
    assert rows['b']['error'] == 'ValueError: first' and rows['c']['error'] is None and rows['c']['value'] == 1
    assert 'a' not in rows


def test_processes_share_the_cases(plan, monkeypatch):
    ran = []
    monkeypatch.setattr(parity, 'cases', lambda plan: [
        Case(f'{group} {number}', lambda group=group: ran.append(group) or {}, group)
        for number in range(2) for group in 'abcdefgh'])
    found = []
    for shard in range(3):
        ran.clear()
        work(plan, 'parity', shard, 3)
        found.append(set(ran))
    assert set.union(*found) == set('abcdefgh') and sum(map(len, found)) == 8


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    journal = Journal(tmp_path / 'journal')
    journal.begin('a')
    journal.end('a', dict(x=1))
    with open(tmp_path / 'journal', 'a') as file:
        file.write('{"begun": "b')
    assert journal.read() == (['a'], {'a': dict(case='a', error=None, x=1)})


def rows(call, ms, **more):
    return dict(case=call, error=None, call=call, batch=32, ms=ms, over_copy={}, **more)


def results(**parity_facts):
    facts = dict(architecture='sm_90', device='a GPU', machine='a machine', commit='abc', kernels=gpus.checksum(),
                 is_complete=True, rows=[dict(case='a', error=None)])
    return dict(
        parity={**facts, **parity_facts},
        layers=dict(rows=[rows('infer float16', {'cos:triton/eager': 1.0, 'cos:operators/eager': 4.0,
                                                 'cos:operators/compiled': 2.0}),
                          rows('train float16', {'cos:triton/eager': 1.0, 'cos:operators/eager': 4.0})]),
        tuning=dict(rows=[
            dict(case='compiled ahead', error=None),
            dict(case='1', error=None, kernel='infer', key='half 16x16', ratio=0.5, best={'BLOCK': 32}),
            dict(case='2', error=None, kernel='channel_states', key='half 16x16', ratio=0.99, best={'num_warps': 2}),
            dict(case='3', error='broke')]))


def test_what_becomes_of_the_results_in_the_table(monkeypatch):
    monkeypatch.setattr(gpus, 'table', dict)
    entry = proposal.propose(results())['sm_90']
    assert entry['is_correct'] and entry['blocks'] == {'infer': {'half 16x16': {'BLOCK': 32}}}
    # What the compiler made was not measured in training: the solver stays with the operators there.
    assert entry['over_operators'] == {'infer float16': pytest.approx(0.5)}
    assert gpus.against_entry('sm_90', 'infer float16', {'sm_90': entry}) is None


def test_what_was_not_proved_does_not_get_into_the_table():
    assert proposal.propose(results(is_complete=False)) is None
    assert not proposal.propose(results(rows=[dict(case='a', error='differs')]))['sm_90']['is_correct']
    assert proposal.propose(dict(layers=results()['layers'])) is None


def test_aims():
    found = dict(layers=dict(rows=[dict(rows('infer float16', {}), over_copy={'cos:triton/graph': ratio})
                                   for ratio in (1.0, 4.0)]))
    assert [row[2] for row in proposal.aims(found)] == ['2, at most 4', '–', '–']


@pytest.mark.parametrize('kernel', triton_blocks.TUNED)
def test_the_grid_begins_with_the_rule_and_holds_tiles_of_a_sensible_size(kernel):
    rule = triton_blocks.chosen(kernel, torch.float16, 24, 24)
    choices = tuning.grid(kernel, rule, 24)
    assert choices[0] == rule and len(choices) == len({tuple(choice.items()) for choice in choices}) > 3
    for choice in choices:
        assert choice.keys() == rule.keys()
        assert 512 <= choice.get('BLOCK', 32) * 32 <= 8192


def test_layers_table_says_what_failed():
    text = layers.markdown([dict(case='x', error='cos:triton/eager: differs')])
    assert '## Failed' in text and 'cos:triton/eager: differs' in text


def test_a_part_goes_onto_its_page_with_what_is_left_of_it(tmp_path):
    (tmp_path / 'gpu.md').write_text('before\n<!-- gpu-parity: begin -->\nold\n<!-- gpu-parity: end -->\nafter\n')
    row = dict(case='infer, channel norm, float16, x', error=None, output=1e-4, gradient=None)
    (tmp_path / 'parity.json').write_text(json.dumps(dict(
        part='parity', is_complete=False, machine='a machine', commit='abc', rows=[row])))
    assert page.main([str(tmp_path / 'parity.json'), '--page', str(tmp_path / 'gpu.md')]) == 0
    text = (tmp_path / 'gpu.md').read_text()
    assert 'infer, channel norm, float16' in text and 'a machine; commit abc.' in text and 'old' not in text
    assert 'Not all cases of this part ran' in text and text.endswith('after\n')
    kept = json.loads((tmp_path / 'results/gpu-parity.json').read_text())
    assert all(paragraph in text for paragraph in kept)
