"""The example in C++ is built, and prints the boxes of run_onnx.py, with and without our operator."""
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from PIL import Image

for name in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(name, reason='the extra "deploy" is not installed')
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from mobileode_mm.deploy import export  # noqa: E402
from mobileode_mm.ode.backends.build import cache_folder, is_available  # noqa: E402

ROOT = Path(__file__).parents[2]
# Of the registries, this package for Unity has onnxruntime's headers; the library comes with the wheel.
HEADERS = 'com.github.asus4.onnxruntime@0.4.9'
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_available(), reason='no C++ compiler is installed'),
              pytest.mark.skipif(shutil.which('cmake') is None, reason='CMake is not installed')]


def fetch_headers(folder):
    """Keep the headers of the package, of which the rest is large, in a folder."""
    if shutil.which('npm') is None:
        pytest.skip("onnxruntime's headers are not there: ONNXRUNTIME names no release of it, and npm is not installed")
    part = folder.with_suffix('.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    done = subprocess.run(['npm', 'pack', HEADERS, '--loglevel=error', '--fetch-retries=0'], cwd=part,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"onnxruntime's headers are not there: npm cannot fetch {HEADERS}: {done.stderr[:100]}")
    package, = part.glob('*.tgz')
    with tarfile.open(package) as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == '.h' and path.parent.name == 'Headers':
                (part / path.name).write_bytes(archive.extractfile(member).read())
    package.unlink()
    part.rename(folder)


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    """A folder like an unpacked release of onnxruntime: that of the environment, or made of what registries have."""
    if os.environ.get('ONNXRUNTIME'):
        return os.environ['ONNXRUNTIME']
    library = next(Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.1*'), None)
    if library is None:
        pytest.skip('the wheel of onnxruntime has no libonnxruntime.so')
    headers = cache_folder() / 'onnxruntime-headers'
    if not headers.is_dir():
        fetch_headers(headers)
    folder = tmp_path_factory.mktemp('release')
    (folder / 'lib').mkdir()
    (folder / 'lib/libonnxruntime.so.1').symlink_to(library)
    (folder / 'include').symlink_to(headers)
    return folder


@pytest.fixture(scope='module')
def detect(release, tmp_path_factory):
    build = tmp_path_factory.mktemp('build')
    for command in (['cmake', '-S', ROOT / 'tools/deployment/cpp', '-B', build, f'-DONNXRUNTIME={release}',
                     '-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror'], ['cmake', '--build', build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / 'detect'


def run(*arguments, cwd=None):
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope='module')
def exported(small_detector, tmp_path_factory):
    """A folder with the stock file, that of our operator with its library, one that pads images, and an image."""
    config, options, checkpoint, file = small_detector
    folder = tmp_path_factory.mktemp('cpp')
    export(config, checkpoint, folder / 'a.onnx', with_nms=True, custom_ops=True, cfg_options=options)
    model = onnx.load(folder / 'a.onnx')
    steps, = (entry for entry in model.metadata_props if entry.key == 'prepare')
    for name, values in (('padded', [192, 192]), ('padded_grey', [192, 192, 114.0, 114, 90])):
        steps.value = json.dumps([dict(letterbox=values)])
        onnx.save(model, folder / f'{name}.onnx')
    model.metadata_props.add(key='tiles', value='{}')
    onnx.save(model, folder / 'tiles.onnx')
    Image.open(file).save(folder / 'image.ppm')
    return folder


@pytest.mark.parametrize('model, library', [('a.onnx', None), ('a.ops.onnx', 'a.ops.so'), ('padded.onnx', None),
                                            ('padded_grey.onnx', None)])
def test_the_boxes_are_those_of_the_stand_alone_program(detect, exported, found_boxes, model, library):
    arguments = [exported / model, exported / 'image.ppm', '--score-thr', 0.05,
                 *(['--custom-ops', exported / library] if library else [])]
    expected = found_boxes(*arguments)
    assert len(expected) > 5
    done = run(detect, *arguments)
    assert done.returncode == 0, done.stderr
    found = [line.split('\t') for line in done.stdout.splitlines()]
    assert [label for label, _ in found] == [one['label'] for one in expected]
    for one, (_, numbers) in zip(expected, found):
        score, *box = map(float, numbers.split())
        assert score == pytest.approx(one['score'], abs=1e-3) and box == pytest.approx(one['box'], abs=0.1)


def test_what_is_refused(detect, exported, write_model):
    write_model(exported / 'c.onnx', dict(task='classification', classes='["a"]', prepare='[{"resize": [8, 8]}]'))
    (exported / 'torn.ppm').write_bytes((exported / 'image.ppm').read_bytes()[:1000])
    for arguments, words in ((('a.ops.onnx', 'image.ppm'), 'ChannelwiseODESolver'),
                             (('a.onnx', 'a.onnx'), 'no binary PPM'), (('a.onnx', 'torn.ppm'), 'cut short'),
                             (('absent.onnx', 'image.ppm'), 'absent.onnx'), (('a.onnx', ), 'usage'),
                             (('a.onnx', 'image.ppm', '--score-thr', 'low'), 'usage'),
                             (('c.onnx', 'image.ppm'), 'is no detector of whole images'),
                             (('tiles.onnx', 'image.ppm'), 'is no detector of whole images')):
        done = run(detect, *arguments, cwd=exported)
        assert done.returncode == 2 and done.stderr.startswith('error: ') and words in done.stderr, done.stderr
