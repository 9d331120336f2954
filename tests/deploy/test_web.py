"""The page of ``--format web``: it prepares images as run_onnx.py does, and finds in a browser what that finds."""
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

for name in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(name, reason='the extra "deploy" is not installed')

from benchmarks.browser import DONE, Browser, find_chromium, served  # noqa: E402
from mobileode_mm.cli import main  # noqa: E402
from mobileode_mm.deploy import export  # noqa: E402
from mobileode_mm.deploy.browser import runtime_files, write_folder  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'mobileode_mm/deploy/web'
STEPS = [
    [], [dict(resize=[48, 31])], [dict(fit=[60, 40])], [dict(short_side=37), dict(crop=[32, 33])],
    [dict(crop=[90, 200])], [dict(letterbox=[64, 96])], [dict(letterbox=[64, 96, 114.0, 7, 0])], [dict(scale=1.5)],
    [dict(method='opencv bicubic'), dict(resize=[48, 31]), dict(resize=[100, 77])],
    [dict(method='pillow bilinear'), dict(short_side=37), dict(resize=[97, 61])],
    # Another order of the sides, which Pillow 13 takes for others than these, has other roundings.
    [dict(method='pillow bicubic'), dict(resize=[200, 61]), dict(method='opencv bilinear'), dict(crop=[40, 32])],
    [dict(resize=[300, 290])]]


def status(browser):
    return browser.evaluate('document.getElementById("status").textContent')


def rows(browser):
    """Texts of the cells of the page's table."""
    return browser.evaluate('[...document.querySelectorAll("tbody tr")].map(row => [...row.cells].map('
                            'cell => cell.textContent))')


@pytest.mark.skipif(shutil.which('node') is None, reason='Node.js is not installed')
def test_images_are_prepared_to_the_very_pixels_of_the_stand_alone_program(program, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (97, 130, 3), np.uint8)
    shutil.copy(PAGE / 'prepare.js', tmp_path / 'prepare.mjs')
    (tmp_path / 'given.json').write_text(json.dumps(dict(data=pixels.ravel().tolist(), height=97, width=130)))
    code = (f"import {{prepare}} from './prepare.mjs'; import fs from 'fs';"
            f"const given = JSON.parse(fs.readFileSync('given.json')); given.data = new Uint8Array(given.data);"
            f"for (const steps of {json.dumps(STEPS)}) {{ const {{image, used}} = prepare(given, steps);"
            f"console.log(JSON.stringify([image.height, image.width, used, Array.from(image.data)])); }}")
    done = subprocess.run(['node', '--input-type=module', '-e', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for steps, line in zip(STEPS, done.stdout.splitlines(), strict=True):
        expected, used = program.prepare(pixels, steps)
        height, width, found_used, data = json.loads(line)
        assert (height, width, 3) == expected.shape and tuple(found_used) == tuple(used)
        assert np.array_equal(np.reshape(data, expected.shape), expected), steps


@pytest.mark.skipif(shutil.which('node') is None, reason='Node.js is not installed')
@pytest.mark.parametrize('kind, number', [('Uint8Array', 255), ('Int32Array', 299)])
def test_masks_of_many_classes(kind, number, tmp_path):
    shutil.copy(PAGE / 'prepare.js', tmp_path / 'prepare.mjs')
    code = (f"import {{result}} from './prepare.mjs'; const classes = Array.from({{length: 300}}, (_, i) => `c${{i}}`);"
            f"const found = result({{mask: {kind}.from([{number}, 7])}}, {{task: 'segmentation', classes}},"
            "{width: 2, height: 1}, [1, 2], {height: 1, width: 2});"
            "console.log(JSON.stringify([Array.from(found.mask), found.shares.map(one => one.label)]));")
    done = subprocess.run(['node', '--input-type=module', '-e', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[number, 7], ['c7', f'c{number}']]


@pytest.mark.parametrize('arguments, words', [
    (['--format', 'web', '--web-runtime', 'absent.tgz'], ['absent.tgz', 'onnxruntime-web']),
    (['--format', 'web', '--web-runtime', 'other'], ['ort.wasm', 'checksum']),
    (['--format', 'web', '--web-runtime', 'other.tgz'], ['other.tgz', 'onnxruntime-web']),
    (['--format', 'web'], ['npm', '--web-runtime']),
    (['--format', 'web', '--int8'], ['--int8', 'onnx']),
    (['--format', 'web', '--custom-ops'], ['--custom-ops', 'onnx']),
    (['--format', 'onnx', '--web-runtime', 'other'], ['--web-runtime', 'web'])], ids=str)
def test_what_is_refused(arguments, words, tmp_path, monkeypatch, capsys):
    """Before the config is even read; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PATH', str(tmp_path))  # where there is no npm
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path / 'cache'))
    Path('other/dist').mkdir(parents=True)
    for name in ('ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'):
        Path('other/dist', name).write_text('of another version')
    with tarfile.open('other.tgz', 'w:gz') as archive:
        archive.add('other')
    before = sorted(tmp_path.rglob('*'))
    out = 'page.onnx' if 'onnx' in arguments else 'page'
    assert main(['export', 'absent.py', 'absent.pth', '--out', out, *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith('error: ') and all(word in message for word in words), message
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.skipif(shutil.which('npm') is None, reason='npm is not installed')
def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    monkeypatch.setenv('npm_config_registry', 'http://127.0.0.1:9/')
    with pytest.raises(InputError, match='npm cannot fetch.*--web-runtime'):
        runtime_files(None)
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


@pytest.fixture(scope='module')
def runtime():
    try:
        return runtime_files(None)
    except InputError as error:
        pytest.skip(f'onnxruntime-web is not there: {error}')


@pytest.fixture(scope='module')
def browser():
    if find_chromium() is None:
        pytest.skip('no Chromium is installed')
    with Browser('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream') as opened:
        yield opened


@pytest.mark.slow
def test_a_detectors_boxes_are_those_of_the_program(small_detector, runtime, browser, found_boxes, tmp_path):
    config, options, checkpoint, file = small_detector
    out = tmp_path / 'page'
    assert main(['export', str(config), str(checkpoint), '--format', 'web', '--out', str(out), '--cfg-options',
                 *(f'{key}={value}' for key, value in options.items())]) == 0
    expected = found_boxes(out / 'network.onnx', file, '--score-thr', 0.02)
    assert len(expected) > 20
    with served(out) as address:
        browser.open(address)
        browser.wait('!document.getElementById("file").disabled')
        browser.choose('#file', file)
        browser.wait(DONE)
        assert status(browser) == 'image.png, 150 × 100 px'
        assert ' ms in the network (' in browser.evaluate('document.getElementById("time").textContent')
        browser.evaluate('(slider => { slider.value = 0.02; slider.dispatchEvent(new Event("input")); })'
                         '(document.getElementById("threshold"))')
        found = rows(browser)
        assert browser.evaluate('document.getElementById("view").getAttribute("aria-label")').startswith(
            f'{len(found)} boxes, {found[0][0]} ')
    # A score beside the threshold may fall on either side.
    assert abs(len(found) - len(expected)) <= 1
    for one, (label, score, box) in zip(expected, found):
        assert label == one['label'] and float(score) == pytest.approx(one['score'], abs=2e-3)
        assert [float(side) for side in box.split(', ')] == pytest.approx(one['box'], abs=0.5)


@pytest.mark.slow
def test_a_network_of_tiles_is_refused(small_detector, runtime, tmp_path):
    config, options, checkpoint, _ = small_detector
    tiled = tmp_path / 'tiles.py'
    tiled.write_text(f"_base_ = '{config}'\nmodel = dict(test_cfg=dict(tile=dict(size=128, overlap=32)))\n")
    with pytest.raises(InputError, match='in tiles .* the page of --format web cannot'):
        export(tiled, checkpoint, tmp_path / 'page', 'web', cfg_options=options)
    assert not (tmp_path / 'page').exists()


@pytest.mark.slow
def test_a_classifiers_best_classes_and_a_segmentors_shares(write_model, runtime, browser, tmp_path):
    file = tmp_path / 'image.png'
    pixels = np.full((20, 30, 3), (10, 11, 12), np.uint8)
    pixels[:, :6, 0] = 210
    Image.fromarray(pixels).save(file)
    meta = dict(classes=json.dumps(['one', 'two', 'three']), prepare='[]')
    for task, output, expected in (
            ('classification', 'scores', ['one', 'three', 'two']),
            ('segmentation', 'mask', [['one', '80.0 %'], ['three', '20.0 %']])):
        folder = tmp_path / task
        write_model(write_folder(folder, runtime, dict(meta, task=task), [file]), {}, output)
        with served(folder) as address:
            browser.open(address)
            browser.wait(DONE)  # the first example, without a click
            found = rows(browser)
        assert [row[0] for row in found] == expected if output == 'scores' else found == expected


@pytest.mark.slow
def test_the_camera_and_what_is_said_of_faults(write_model, runtime, browser, tmp_path):
    text = tmp_path / 'text.png'
    text.write_text('no image')
    meta = dict(classes='["one", "two", "three"]', prepare='[{"resize": [8, 8]}]', task='classification')
    failed = 'document.getElementById("status").className === "error"'

    def opened(folder, write):
        write(write_folder(tmp_path / folder, runtime, meta, []))
        return served(tmp_path / folder)

    with opened('empty', lambda network: None) as address:
        browser.open(address)
        browser.wait(failed)
        assert status(browser) == ('The network cannot be loaded: network.onnx cannot be fetched (status 404); '
                                   'is the folder whole?')
    with opened('torn', lambda network: network.write_text('no network')) as address:
        browser.open(address)
        browser.wait(failed)
        assert status(browser).startswith('The network cannot be loaded: ')
    with opened('whole', lambda network: write_model(network, {})) as address:
        browser.open(address)
        browser.wait('!document.getElementById("file").disabled')
        browser.choose('#file', text)
        browser.wait(failed)
        assert status(browser) == ('text.png cannot be looked at: the browser cannot read it as an image; '
                                   'choose a JPEG or PNG file')
        browser.evaluate('document.getElementById("camera").click()')
        browser.wait('document.getElementById("time").textContent.includes("median of 20 runs")')
        assert status(browser).startswith('The camera, ') and len(rows(browser)) == 3
        browser.evaluate('document.getElementById("camera").click()')
        assert status(browser) == 'The camera is off.'
