"""The comparison of the solvers' norms, as a command."""
import json
import re
from pathlib import Path

import pytest

from benchmarks.studies.norms import RESULT, compare_norms, describe_machine, markdown
from mobileode_mm import cli
from mobileode_mm.errors import InputError


def main(arguments):
    return cli.main(['norms', *arguments])


CONFIGS = Path(__file__).parents[3] / 'configs'


def test_table():
    results = dict(position=[dict(square=10.0, oblong=1.0), dict(square=20.04, oblong=3.0)],
                   channel=[dict(square=5.0, oblong=2.5), dict(square=6.0, oblong=2.5)])
    text = markdown(dict(results=results, command='a command', commit='abc', machine='a machine'))
    assert text.splitlines()[:4] == [
        '| images | `position` | `channel` |',
        '| --- | --- | --- |',
        '| square | 15.0 (10.0, 20.0) | 5.5 (5.0, 6.0) |',
        '| oblong | 2.0 (1.0, 3.0) | 2.5 (2.5, 2.5) |']
    assert 'Over all rows but "square": `position` 2.0, `channel` 2.5.' in text
    assert text.endswith('`a command`, commit abc; a machine.')


def test_machine_is_named():
    assert re.search(r'\d+ threads of \d+ cores, Python 3\.\d+\.\d+, torch \d.*mmengine \d.*mmsegmentation \d',
                     describe_machine())


@pytest.mark.parametrize('config', ['ssdlite_mobileode_mini.py', 'peers/deeplabv3_mobilenetv2_mini.py'])
def test_other_configs_are_refused(config, tmp_path, capsys):
    assert main([str(CONFIGS / config), '--work-dir', str(tmp_path / 'runs')]) == 2
    assert 'no segmentation config with a MobileODE backbone' in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()


def test_finished_runs_are_not_repeated(tmp_path):
    for norm, value in (('position', 1.0), ('channel', 2.0)):
        (tmp_path / f'{norm}_7').mkdir()
        (tmp_path / f'{norm}_7' / RESULT).write_text(json.dumps(dict(square=value)))
    found = compare_norms(CONFIGS / 'deeplabv3_mobileode_mini.py', tmp_path, seeds=[7])
    assert found == dict(position=[dict(square=1.0)], channel=[dict(square=2.0)])


@pytest.mark.slow
def test_compares(tmp_path):
    from mobileode_mm.data import make_mini_data
    make_mini_data(tmp_path / 'mini', detection=(1, 1), segmentation=(8, 10), classification=(10, 10))
    options = {'data_root': str(tmp_path / 'mini/VOCdevkit/VOC2012'), 'train_cfg.max_epochs': 1,
               'model.backbone.widen_factor': 0.25}
    found = compare_norms(CONFIGS / 'deeplabv3_mobileode_mini.py', tmp_path / 'runs', [0], options)
    assert set(found) == {'position', 'channel'}
    for (run, ) in found.values():
        assert len(run) == 8 and all(0 <= value <= 100 for value in run.values())
    with pytest.raises(InputError):  # a run that was not evaluated is not written over
        (tmp_path / 'runs/channel_0' / RESULT).unlink()
        compare_norms(CONFIGS / 'deeplabv3_mobileode_mini.py', tmp_path / 'runs', [0], options)
