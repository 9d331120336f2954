"""What a suite leaves, without training one."""
import json
import shutil

import pytest


@pytest.fixture
def suite_folder(anytime_place, tmp_path, monkeypatch):
    """Make a suite's folder with these runs, of which that in ``runs/trained`` has a network, and return it."""
    monkeypatch.chdir(anytime_place)

    def make(*runs):
        folder = tmp_path / 'runs/trained'
        folder.mkdir(parents=True)
        shutil.copy('any.py.pth', folder / 'epoch_1.pth')
        (folder / 'settings.json').write_text(json.dumps(dict(config=str(anytime_place / 'any.py'), cfg_options={})))
        (tmp_path / 'results.json').write_text(json.dumps(dict(runs=runs)))
        return tmp_path

    return make
