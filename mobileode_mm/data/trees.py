"""Aerial photographs of trees with boxes, as DeepForest ships them: real data for one's own first training."""
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ..errors import InputError
from .finished import finished_folder

#: The wheel (20 MB, MIT), whose photographs are of the NEON network's sites.
REQUIREMENT, SHA256 = 'deepforest==2.1.0', '8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54'
#: By split: the images and their XML files, without ending. No photograph is in both; the last two are of other sites.
IMAGES = {
    'train': ('2019_YELL_2_528000_4978000_image_crop2', ),
    'test': ('2019_YELL_2_541000_4977000_image_crop', 'OSBS_029', 'SOAP_061'),
}
_CLASS = 'Tree'


def make_tree_data(out: str | Path, wheel: str | Path | None = None) -> bool:
    """Make ``train/`` and ``test/`` with PNG files and VOC XML files, all boxes of the class Tree.

    One site distinguishes living and dead trees; there both become Tree.

    Args:
        out: The folder to make.
        wheel: DeepForest's wheel; fetched by pip, without its dependencies, where none is given.

    Returns:
        True if the data were made, False if ``out`` already holds them.

    Raises:
        InputError: ``out`` holds something else, or the wheel cannot be had or is another one.
    """
    out = Path(out).expanduser().resolve()
    wanted = sorted(Path(split, name + suffix) for split, names in IMAGES.items() for name in names
                    for suffix in ('.png', '.xml'))
    if out.is_dir() and any(out.iterdir()):
        if sorted(path.relative_to(out) for path in out.rglob('*') if path.is_file()) == wanted:
            return False
        raise InputError(f'{out} exists and does not hold the tree photographs; choose another folder')
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(wheel) if wheel else _fetch(Path(temporary))
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise InputError(f'{path} is not the wheel of {REQUIREMENT}: its checksum differs')
        with zipfile.ZipFile(path) as archive, finished_folder(out) as folder:
            for file in wanted:
                content = archive.read(f'deepforest/data/{file.name}')
                if file.suffix == '.xml':
                    for name in (b'Dead', b'Alive'):
                        content = content.replace(b'<name>%s</name>' % name, b'<name>%s</name>' % _CLASS.encode())
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(content)
    return True


def _fetch(folder: Path) -> Path:
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:',
               '--dest', str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or 'pip said nothing').splitlines()[-1]
        raise InputError(f'{REQUIREMENT} cannot be fetched by pip: {reason}')
    return next(folder.glob('*.whl'))
