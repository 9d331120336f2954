"""``--steps`` and ``--max-drop``: which steps a file has, what it says of them, and what is refused."""
import json

import pytest
from mmengine.registry import DefaultScope

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')

from mobileode_mm.apis import Inferencer, train  # noqa: E402
from mobileode_mm.apis import test as evaluate  # noqa: E402
from mobileode_mm.backbones import anytime_backbones  # noqa: E402
from mobileode_mm.cli import main  # noqa: E402
from mobileode_mm.deploy.formats import onnx_metadata  # noqa: E402
from mobileode_mm.deploy.steps import search  # noqa: E402


@pytest.fixture(autouse=True)
def here(anytime_place, monkeypatch):
    monkeypatch.chdir(anytime_place)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield anytime_place


def transitions(model):
    return [len(module.transitions) for module in model.modules() if hasattr(module, 'transitions')]


def test_test_and_inference_take_them(here):
    found = {}
    for steps in (1, (2, 2, 1, 2), None):
        inferencer = Inferencer('any.py', 'any.py.pth', 'cpu', steps=steps)
        expected = {1: [1] * 8, None: [2] * 8}.get(steps, [2, 2, 1, 1, 1, 1, 1, 2])
        assert inferencer.model.deploy and transitions(inferencer.model) == expected
        image = str(next((here / 'data/folders/val/red').iterdir()))
        found[steps] = inferencer([image])[0].scores
    assert len({scores.tobytes() for scores in found.values()}) == 3
    assert 'accuracy/top1' in evaluate('any.py', 'any.py.pth', 'tested', steps=1)


@pytest.mark.parametrize('command', [
    ('test', 'CONFIG', 'CHECKPOINT'), ('infer', 'CONFIG', 'CHECKPOINT', 'data/folders/val/red'),
    ('export', 'CONFIG', 'CHECKPOINT', '--out', 'x.onnx')], ids=lambda command: command[0])
@pytest.mark.parametrize('name, steps, words', [
    ('plain.py', '1', 'only networks that are trained with anytime'),
    ('any.py', '1,3', '--steps 1,3: the network of any.py was trained for 1, 2'),
    ('any.py', '1,2', '2 numbers of steps (1, 2) are given: one is wanted, or one for each of the 4 stages')])
def test_what_is_refused(command, name, steps, words, capfd):
    command = [dict(CONFIG=name, CHECKPOINT=f'{name}.pth').get(word, word) for word in command]
    assert main([*command, '--steps', steps]) == 2
    assert words in capfd.readouterr().err


@pytest.mark.parametrize('name, options, words', [
    ('plain.py', [], 'only networks that are trained with anytime'),
    ('any.py', ['--steps', '1'], 'give one of the two'),
    ('any.py', ['--format', 'torchscript'], 'for --format onnx'),
    ('any.py', ['--max-drop', '-1'], '0 or more'),
    ('any.py', ['--cfg-options', 'val_dataloader=None'], 'the config has no val_dataloader'),
    ('any.py', ['--cfg-options', 'val_dataloader.dataset.data_prefix=nowhere'], 'val data cannot be read')])
def test_a_search_that_is_refused(name, options, words, capfd):
    out = 'x.pt' if 'torchscript' in options else 'x.onnx'
    assert main(['export', name, f'{name}.pth', '--out', out, '--max-drop', '1', *options]) == 2
    assert words in capfd.readouterr().err


def test_numbers_that_are_none(capfd):
    with pytest.raises(SystemExit):
        main(['export', 'any.py', 'any.py.pth', '--out', 'x.onnx', '--steps', '1;2'])
    assert "'1;2': a whole number is wanted, or several with commas" in capfd.readouterr().err


def test_the_search_takes_what_saves_most_and_loses_little():
    times = {(0, 1): 5., (0, 2): 8., (0, 4): 10., (1, 1): 6., (1, 2): 9., (1, 4): 10., (2, 1): 12., (2, 2): 11.,
             (2, 4): 10.}
    metrics = {(4, 4, 4): 90., (2, 4, 4): 89.8, (1, 4, 4): 88., (2, 2, 4): 90.5, (2, 1, 4): 89.5}
    trials = search((1, 2, 4), (4, 4, 4), times, metrics.__getitem__, 0.5)
    # The third stage is slower with fewer steps, and is not asked for.
    assert [(trial.steps, trial.is_kept) for trial in trials] == [
        ((4, 4, 4), True), ((2, 4, 4), True), ((1, 4, 4), False), ((2, 2, 4), True), ((2, 1, 4), True)]


@pytest.mark.slow
def test_a_training_takes_all_numbers_by_itself(here):
    runner = train('any.py', 'trained', cfg_options={'train_cfg.max_epochs': 1})
    norm = runner.model.backbone.stage4[1].project.solver.norm
    assert norm.num_batches_tracked == 2 * 2 and norm.statistics['1'].num_batches_tracked == 2
    path = str(here / 'trained/epoch_1.pth')
    assert not any('AnytimeHook' in note for note in Inferencer('any.py', path, 'cpu', steps=1).notes)


@pytest.mark.slow
def test_the_file_has_what_was_found(here, capsys):
    backbone, = anytime_backbones(Inferencer('any.py', 'any.py.pth', 'cpu', deploy=False).model)
    assert main(['export', 'any.py', 'any.py.pth', '--out', 'found.onnx', '--max-drop', '100']) == 0
    lines = capsys.readouterr().out.splitlines()
    chosen = json.loads(onnx_metadata(here / 'found.onnx')['steps'])
    assert len(chosen) == len(backbone.with_solver) and {*chosen} <= {1, 2}
    line, = (line for line in lines if line.startswith('steps ') and 'ms in onnxruntime' in line)
    assert line.startswith(f'steps {",".join(map(str, chosen))}: ')
    kept = [row.split()[0] for row in lines if row.endswith('  kept')]
    assert kept[0] == '2,2,2,2' and kept[-1] == ','.join(map(str, chosen))
