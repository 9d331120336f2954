"""A folder with a page that runs an ONNX file in a browser: the page of ``web/``, and onnxruntime-web from npm."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..ode.backends.build import cache_folder

#: Name of the ONNX file in the folder.
NETWORK = 'network.onnx'
#: What browsers can show.
SHOWN = ('.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp')
_PAGE = Path(__file__).with_name('web')
_VERSION = '1.30.0'
_PACKAGE = f'onnxruntime-web@{_VERSION}'
# SHA-256 of the files of the package that the page needs, which lie in its folder dist.
_FILES = {
    'ort.wasm.bundle.min.mjs': '11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90',
    'ort-wasm-simd-threaded.wasm': '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2',
}


def runtime_files(given: str | Path | None) -> dict[str, bytes]:
    """The files of onnxruntime-web by name, each of the checksum that is known of it.

    Args:
        given: The package, as its archive (``.tgz``), unpacked, or its folder ``dist``. None asks npm for it, once a
            machine.

    Raises:
        InputError: It cannot be had, or is another.
    """
    path = _fetched() if given is None else Path(given).expanduser()
    try:
        files = _read(path)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise InputError(f'--web-runtime: {path} is not the npm package {_PACKAGE}: {error}') from error
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != _FILES[name]:
            raise InputError(f'{name} in {path} is not that of {_PACKAGE}: its checksum differs. Remove {path}, or '
                             f'give another with --web-runtime')
    return files


def write_folder(folder: Path, runtime: dict[str, bytes], metadata: dict[str, str], examples: Sequence[Path]) -> Path:
    """Make the folder, without the network.

    Args:
        folder: The folder, which does not exist.
        runtime: As :func:`runtime_files` gives it.
        metadata: What the ONNX file says of itself.
        examples: Images to show; copied.

    Returns:
        Path: Where the ONNX file belongs.
    """
    shutil.copytree(_PAGE, folder)
    for name, content in runtime.items():
        _write(folder / 'runtime' / name, content)
    # Another folder may have been served at the same address, and browsers keep what they saw there.
    mark = secrets.token_hex(4)
    addresses = []
    for number, image in enumerate(examples, 1):
        name = f'examples/{number}{image.suffix.lower()}'
        _write(folder / name, image.read_bytes())
        addresses.append(f'{name}?{mark}')
    # A detector's palette is the toolbox's, made for masks.
    keys = ('classes', 'prepare', 'palette') if metadata['task'] == 'segmentation' else ('classes', 'prepare')
    values = {key: json.loads(metadata[key]) for key in keys if key in metadata}
    described = dict(task=metadata['task'], **values, file=f'{NETWORK}?{mark}', examples=addresses)
    (folder / 'network.json').write_text(json.dumps(described))
    return folder / NETWORK


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def _read(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        inside = path / 'dist' if (path / 'dist').is_dir() else path
        return {name: (inside / name).read_bytes() for name in _FILES}
    with tarfile.open(path) as archive:
        return {name: archive.extractfile(f'package/dist/{name}').read() for name in _FILES}


def _fetched() -> Path:
    """The package's archive in the user's cache."""
    kept = cache_folder() / f'onnxruntime-web-{_VERSION}.tgz'
    if kept.exists():
        return kept
    advice = f'Where npm works, `npm pack {_PACKAGE}` makes a file; give that with --web-runtime FILE'
    npm = shutil.which('npm')
    if npm is None:
        raise InputError(f'--format web puts the npm package {_PACKAGE} into the folder, and npm is not installed. '
                         f'Install Node.js. {advice}')
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            command = [npm, 'pack', _PACKAGE, '--loglevel=error', '--fetch-retries=0', '--fetch-timeout=60000']
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip() or 'no reason is given').splitlines()[0]
                raise InputError(f'--format web needs {_PACKAGE}, which npm cannot fetch: {reason}. {advice}')
            os.replace(Path(folder, kept.name), kept)
    except OSError as error:
        raise InputError(f'{kept} cannot be made: {error}. {advice}') from error
    return kept
