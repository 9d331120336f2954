"""The table of formats: what is told apart, named or refused, before anything is made or run."""
import json
import os
from pathlib import Path

import pytest
import torch

from mobileode_mm.cli import main
from mobileode_mm.deploy.formats import DYNAMIC, FORMATS, format_of, needed
from mobileode_mm.errors import InputError


def test_formats_are_told_apart_by_their_names():
    for name, one in FORMATS.items():
        assert format_of(Path(f'network{one.suffix}')) == name
        assert (set(one.free) == set(DYNAMIC)) == (not one.why_fixed)
    with pytest.raises(InputError, match=r'\.onnx, .*\.pte'):
        format_of(Path('network.h5'))


def test_what_is_missing_is_named_with_the_fix(monkeypatch):
    for name, one, fix in (('ncnn', type(FORMATS['ncnn']), r'pip install "mobileode-mm\[ncnn\]"'),
                           ('litert', type(FORMATS['litert']), 'make install-litert')):
        class Absent(one):
            writes_with = ('no_such_converter', )
            runs_with = ('no_such_converter', 'no_such_runtime')

        monkeypatch.setitem(FORMATS, name, Absent())
        with pytest.raises(InputError, match=f'--format {name} needs no_such_converter and no_such_runtime: {fix}'):
            needed(name, False)


def test_a_file_without_what_belongs_to_it_or_of_another_program_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('a.pt').write_text('no file of PyTorch')
    module = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))
    torch.jit.save(module, 'b.pt')
    torch.jit.save(module, 'c.pt', _extra_files={'metadata.json': json.dumps(dict(
        task='detection', classes='["a"]', prepare='[]', outputs='["boxes", "scores"]'))})
    for arguments, words in ((['a.pt'], 'a.pt cannot be loaded'), (['b.pt'], 'was not written by'),
                             (['c.pt'], 'does not say how the best are chosen'),
                             (['absent.pt'], 'absent.pt: no such file'), (['a.h5'], 'ends in .onnx'),
                             (['b.pt', '--custom-ops', 'b.so'], 'b.pt is none'),
                             (['b.pt', '--threads', '-1'], '--threads -1')):
        assert main(['run', arguments[0], 'image.png', *arguments[1:]]) == 2
        found, reported = capsys.readouterr()
        assert not found and reported.startswith('error: ') and words in reported and len(reported.splitlines()) == 1
    assert sorted(os.listdir()) == ['a.pt', 'b.pt', 'c.pt']
