"""Trainings that are killed and resumed have the log of an undisturbed one."""
import json
import random
from pathlib import Path

import pytest
import torch

from benchmarks.chaos import MARK, PHASES, Chaos, main, markdown, what_is_left
from benchmarks.output import put_into_page
from mobileode_mm.errors import InputError


@pytest.mark.slow
def test_killed_runs_are_resumed_as_if_nothing_had_been(place, monkeypatch):
    """A cut of 4: the phases in which most can be lost."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    Path('chaos').mkdir()
    Path('chaos/whole_1.events').write_text('["epoch 1", 1]\n')  # of an earlier start
    chaos = Chaos('classification.py', {'default_hooks.checkpoint.save_best': 'accuracy/top1'}, Path('chaos'))
    assert len(chaos.whole['values']) == 12 and len(chaos.whole['metrics']) == 3
    assert {name.rstrip(' 0123456789') for name in chaos.phases} == set(PHASES)
    assert all(0 <= seconds < 600 for seconds in chaos.phases.values())
    for number, kind in enumerate(('epoch', 'checkpoint', 'validation', 'report')):
        trial = chaos.trial(kind, random.Random(number))
        assert trial['exact'] and not trial['lost'] and not trial['left_over'] and not trial['processes_left'], trial


def test_what_is_left_tells_runs_apart(tmp_path):
    for run, loss in (('20260101_000000', 1.), ('20260101_000001', 2.)):
        folder = tmp_path / run / 'vis_data'
        folder.mkdir(parents=True)
        records = [dict(step=step, iter=step, loss=loss if step == 2 else 1., time=loss) for step in (1, 2)]
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)) + '\n{"step": 1, "top1": 3}\n{"ste')
    torch.save(dict(state_dict=dict(weight=torch.ones(2))), tmp_path / 'epoch_1.pth')
    for name in ('20260101_000001.py', 'config.py'):
        (tmp_path / name).touch()
    left = what_is_left(tmp_path)
    assert left['values'] == {1: [dict(loss=1.)], 2: [dict(loss=1.), dict(loss=2.)]}
    assert left['metrics'] == {1: [dict(top1=3)]}
    assert left['files'] == {'epoch_1.pth', 'config.py'} and left['weights'].keys() == {'weight'}
    assert what_is_left(tmp_path / 'absent')['files'] == set()


def test_the_page_has_the_trials(tmp_path):
    trial = dict(phase='epoch 2', processes=1, seconds=0.5, iterations=9, exact=True, differs=[], lost=[], left_over=[],
                 processes_left=0, commit='c')
    content = dict(config='a.py', options={'b': 1}, seed=0, machine='m', trials={
        '0': trial, '1': dict(trial, exact=False, differs=['weights'], lost=['curves.png'], processes=2)})
    text = markdown(content)
    assert text.startswith('1 of 2 exact. `a.py` with `b=1`, seed 0; commits of the trials c; m.')
    assert '| 1 | epoch 2 | 0.50 | 9 | exact | none | none | 0 |' in text
    assert '| 2 | epoch 2, 1 of 2 processes | 0.50 | 9 | differs: weights | curves.png | none | 0 |' in text
    page, begin, end = tmp_path / 'page.md', f'<!-- {MARK}: begin -->', f'<!-- {MARK}: end -->'
    page.write_text(f'before\n{begin}\nold\n{end}\nafter\n')
    put_into_page(page, MARK, content, text)
    assert json.loads((tmp_path / 'results/chaos.json').read_text()) == content
    assert page.read_text() == f'before\n{begin}\n{text}\n{end}\nafter\n'
    page.write_text('no marks')
    with pytest.raises(InputError, match='has no lines'):
        put_into_page(page, MARK, content, text)


def test_a_training_that_fails_is_named(tmp_path, capsys):
    assert main(['--config', str(tmp_path / 'absent.py'), '--work-dir', str(tmp_path / 'work')]) == 2
    assert 'the undisturbed training failed: see ' in capsys.readouterr().err
