"""The program for devices keeps the promises of ``infer``: named, skipped or refused, and nothing written over."""
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileode_mm.cli import main
from mobileode_mm.data.images import read_image

pytest.importorskip('onnx', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')

PROGRAM = Path(__file__).parents[2] / 'tools/deployment/run_onnx.py'
CLASSES = ['red', 'green', 'blue']
META = dict(task='classification', classes=json.dumps(CLASSES), prepare='[{"resize": [8, 8]}]')
SEGMENTS = dict(META, task='segmentation', prepare='[]')


def run(*arguments, status=0):
    done = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True)
    reported = done.stderr.decode(errors='replace')
    assert done.returncode == status and 'Traceback' not in reported, reported
    return [json.loads(line) for line in done.stdout.splitlines()], reported


@pytest.fixture
def here(tmp_path, monkeypatch, write_model):
    monkeypatch.chdir(tmp_path)
    write_model('a.onnx', META)
    write_model('s.onnx', SEGMENTS, 'mask')
    for name, colour in (('red.png', (250, 10, 10)), ('blue.png', (10, 10, 250))):
        Image.new('RGB', (12, 10), colour).save(name)
    return tmp_path


@pytest.mark.parametrize('threshold, found', [(0.5, 1), (0, 2)])
def test_what_fills_up_the_boxes_is_none(threshold, found, program):
    outputs = dict(boxes=np.ones((1, 4, 4)), scores=np.array([[0.9, 0.1, 0, 0]]), labels=np.array([[2, 0, -1, -1]]))
    boxes = program.result(outputs, 'detection', CLASSES, (8, 8), (8, 8), threshold)[0]['boxes']
    assert [box['label'] for box in boxes] == ['blue', 'red'][:found]


def png(width, height):
    """A small file of a large image."""
    def chunk(name, data):
        return len(data).to_bytes(4, 'big') + name + data + zlib.crc32(name + data).to_bytes(4, 'big')

    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + b'\x08\0\0\0\0'
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(bytes(min(height * (width + 1), 10**6)))) + chunk(b'IEND', b''))


def test_images_that_cannot_be_used_are_named_and_skipped(here, write_model):
    Path('bomb.png').write_bytes(png(2**16, 2**16))
    Path('thin.png').write_bytes(png(2, 4000))
    Path('torn.png').write_bytes(Path('red.png').read_bytes()[:50])
    Path('text.png').write_text('no image')
    Path('crc.png').write_bytes(Path('red.png').read_bytes().replace(b'IHDR', b'IHDX'))
    other = os.fsdecode(b'bl\xe9.png')
    Path(other).write_bytes(Path('blue.png').read_bytes())
    write_model('b.onnx', dict(META, prepare='[{"short_side": 1000}, {"crop": [8, 8]}]'))
    bad = ['bomb.png', 'torn.png', 'text.png', 'crc.png', 'absent.png', '.', 'thin.png']
    found, reported = run('b.onnx', *bad, 'red.png', other, status=1)
    assert [(one['image'], one['label']) for one in found] == [('red.png', 'red'), ('bl\\xe9.png', 'blue')]
    lines = [line for line in reported.splitlines() if line.startswith('skipped: ')]
    assert [line.split(': ')[1] for line in lines] == bad


@pytest.mark.parametrize('name, dtype', [('a.png', '<u2'), ('a.tif', '<u2'), ('a.tif', '>u2')])
def test_grey_of_16_bits_is_read_as_in_training(name, dtype, tmp_path, program):
    grey = np.random.default_rng(0).integers(0, 2**16, (9, 7)).astype(dtype)
    Image.fromarray(grey).save(tmp_path / name)
    assert np.array_equal(program.read(tmp_path / name)[..., ::-1], read_image(tmp_path / name, flag='color'))


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.tif', 'a.webp'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_an_image_is_turned_as_in_training(name, orientation, tmp_path, program):
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=95)
    found, wanted = program.read(tmp_path / name)[..., ::-1], read_image(tmp_path / name, flag='color')
    assert found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_numbers_of_32_bits_are_no_picture(dtype, here):
    Image.fromarray(np.ones((9, 7), dtype)).save('a.tif')
    found, reported = run('a.onnx', 'a.tif', status=1)
    assert not found and reported == 'skipped: a.tif: Pillow reads its pixels as numbers of 32 bits\n'
    with pytest.raises(ValueError, match='broken or no image'):
        read_image('a.tif', flag='color')


@pytest.mark.parametrize('meta', [
    {}, dict(META, task='song'), dict(META, classes='{'), dict(META, classes='[1]'), dict(META, prepare='[' * 10**5),
    dict(META, prepare='[{"turn": 3}]'), dict(META, prepare='[{"resize": [1, "a"]}]'),
    dict(META, prepare='[{"resize": 3}]'),
    dict(META, prepare='[{"crop": [-1, 3]}]'), dict(META, prepare='{}'), dict(META, task='detection'),
    dict(META, tiles='{}')], ids=str)
def test_a_model_without_the_metadata_of_export_is_refused(meta, here, write_model):
    write_model('x.onnx', meta)
    found, reported = run('x.onnx', 'red.png', status=2)
    assert not found and len(reported.splitlines()) == 1 and reported.startswith('error: x.onnx')


def test_what_is_refused(here):
    Path('text.onnx').write_text('no model')
    Path('taken').mkdir()
    Path('taken/red.png').write_text('mine')
    for arguments, words in (
            (('text.onnx', 'red.png'), 'text.onnx cannot be loaded'),
            (('absent.onnx', 'red.png'), 'absent.onnx cannot be loaded'),
            (('a.onnx', 'red.png', '--masks', 'new'), 'is of a classification, which has none'),
            (('a.onnx', 'red.png', '--score-thr', '3'), '--score-thr 3.0'),
            (('s.onnx', 'red.png', '--masks', 'taken'), 'taken exists already and is not overwritten'),
            (('s.onnx', 'red.png', '--masks', 'text.onnx'), 'text.onnx exists already')):
        found, reported = run(*arguments, status=2)
        assert not found and len(reported.splitlines()) == 1 and words in reported
    assert Path('taken/red.png').read_text() == 'mine' and not Path('new').exists()


def test_masks_that_cannot_be_written(here, write_model, capsys):
    write_model('t.onnx', dict(SEGMENTS, outputs='["mask"]'), 'mask')
    assert main(['run', 't.onnx', 'red.png', '--masks', 'blue.png/masks']) == 2
    assert capsys.readouterr().err.startswith('error: cannot write: ')


def test_images_of_one_name_have_masks_of_their_own(here):
    Path('other').mkdir()
    Image.new('RGB', (3, 3)).save('other/red.png')
    found, _ = run('s.onnx', 'red.png', 'other/red.png', '--masks', 'new')
    assert [one['pixels'] for one in found] == [{'blue': 120}, {'red': 9}]
    assert Image.open('new/red.png').size == (12, 10) and Image.open('new/red_2.png').size == (3, 3)


def test_what_is_no_number_is_no_prediction(here, write_model):
    write_model('nan.onnx', META, divide=True)
    found, reported = run('nan.onnx', 'red.png', status=1)
    assert not found and reported == 'skipped: red.png: the network gives NaN\n'
