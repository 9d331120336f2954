"""Pascal VOC 2012 enlarged by the Semantic Boundaries Dataset (SBD), in the layout of mmseg's configs.

The sets follow Hariharan et al. (Semantic Contours from Inverse Detectors, ICCV 2011) and the practice since DeepLab:
``trainaug`` is all that VOC's train list or either list of SBD names, without VOC's val images.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, listed
from .label_maps import VOC_CLASSES, check_size, palette_png, read_label_map
from .places import find_below
from .voc import IMAGES, LISTS, MASKS, MASKS_AUG, PUBLISHED, find_voc, read_names

#: Images in SBD's own two lists as published.
SBD_PUBLISHED = {'train': 8498, 'val': 2857}


def convert_voc_aug(voc: str | os.PathLike, sbd: str | os.PathLike, subset: bool = False,
                    progress: Callable[[int, int], object] | None = None) -> dict[str, int]:
    """Write SBD's labels beside VOC 2012 as mmseg's ``pascal_voc12_aug.py`` reads them.

    Below the folder VOC2012 come to be::

        SegmentationClassAug/*.png              VOC's own masks for its train images, SBD's for the others
        ImageSets/Segmentation/aug.txt          what SBD adds to VOC's train list
        ImageSets/Segmentation/trainaug.txt     VOC's train list and aug.txt

    No image of VOC's val list is in any of them. All input is looked through before the first file is written, and
    the lists are written last. Whatever exists stays as it is: a mask or list that says the same is kept, so a run that
    broke off is continued, and one that differs is an error.

    Args:
        voc: Folder VOC2012, or one above it as the archive unpacks.
        sbd: Folder benchmark_RELEASE, or its ``dataset``.
        subset: Take lists of other lengths than the published ones.
        progress: Called as ``progress(done, total)`` after every mask.

    Returns:
        Numbers: ``aug`` and ``trainaug``, the names of each list; ``written`` and ``kept``, masks.

    Raises:
        InputError: Something is missing, broken or different; the message says what and what to do.
    """
    voc = find_voc(voc)
    sbd = find_below(sbd, ('.', 'dataset', 'benchmark_RELEASE/dataset'), ('cls',), 'Semantic Boundaries Dataset')
    train, aug = _read_lists(voc, sbd, subset)
    lists = {'aug': sorted(aug), 'trainaug': sorted(train | aug)}
    _require(voc / IMAGES, lists['trainaug'], '.jpg', 'images', 'unpack the archive of Pascal VOC 2012 again')
    _require(voc / MASKS, sorted(train), '.png', 'masks', 'unpack the archive of Pascal VOC 2012 again')
    _require(sbd / 'cls', lists['aug'], '.mat', 'label files', 'unpack the archive of SBD again')
    for name, names in lists.items():
        _compare_list(voc / LISTS / f'{name}.txt', names)
    load_mat = _scipy_loader()

    def content(name: str) -> bytes:
        """The PNG that belongs at ``name``; ValueError if its source is faulty."""
        source = voc / MASKS / f'{name}.png' if name in train else sbd / 'cls' / f'{name}.mat'
        try:
            labels = read_label_map(source) if name in train else _read_sbd_labels(load_mat, source)
            check_size(labels, _image_size(voc / IMAGES / f'{name}.jpg'))
        except ValueError as fault:
            raise ValueError(f'{source} {fault}') from fault
        return source.read_bytes() if name in train else palette_png(labels)

    try:
        (voc / MASKS_AUG).mkdir(exist_ok=True)
        with _only_run(voc / MASKS_AUG):
            written = _write_masks(voc / MASKS_AUG, lists['trainaug'], content, progress)
            for name, names in lists.items():
                if not (voc / LISTS / f'{name}.txt').exists():
                    _write(voc / LISTS / f'{name}.txt', ''.join(f'{line}\n' for line in names).encode())
    except OSError as error:
        raise InputError(f'cannot write below {voc}: {error}') from error
    return {**{name: len(names) for name, names in lists.items()},
            'written': written, 'kept': len(lists['trainaug']) - written}


def _read_lists(voc: Path, sbd: Path, subset: bool) -> tuple[set[str], set[str]]:
    """Names of VOC's train list, and those that SBD adds to it."""
    files = {('VOC', 'train'): voc / LISTS / 'train.txt', ('VOC', 'val'): voc / LISTS / 'val.txt',
             ('SBD', 'train'): sbd / 'train.txt', ('SBD', 'val'): sbd / 'val.txt'}
    names = {key: set(read_names(file)) for key, file in files.items()}
    train, val = names['VOC', 'train'], names['VOC', 'val']
    if train & val:
        raise InputError(f'{listed(sorted(train & val))} of {files["VOC", "train"]} are in val.txt too: unpack the '
                         'archive of Pascal VOC 2012 again')
    aug = (names['SBD', 'train'] | names['SBD', 'val']) - train - val
    if not aug:
        raise InputError(f'the lists of {sbd} name no image beyond those of VOC')
    if not subset:
        found = [(str(file), len(names[key]), (PUBLISHED if key[0] == 'VOC' else SBD_PUBLISHED)[key[1]])
                 for key, file in files.items()]
        found.append(('trainaug.txt, made of them,', len(train | aug), PUBLISHED['trainaug']))
        wrong = [f'{what} names {count} images, the published one {published}'
                 for what, count, published in found if count != published]
        if wrong:
            raise InputError('; '.join(wrong) + '. Unpack both archives again, or say --subset if that is meant')
    return train, aug


def _require(folder: Path, names: list[str], suffix: str, what: str, remedy: str) -> None:
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    missing = [name for name in names if name + suffix not in present]
    if missing:
        raise InputError(f'{len(missing)} of {len(names)} {what} are not in {folder}: '
                         f'{listed([name + suffix for name in missing])}; {remedy}')


def _compare_list(path: Path, names: list[str]) -> None:
    if path.exists() and sorted(read_names(path)) != names:
        different = sorted(set(read_names(path)) ^ set(names))
        raise InputError(f'{path} exists and names other images ({listed(different) or "some of them twice"}); it '
                         'was left as it is. Move it away and run again')


def _scipy_loader() -> Callable:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError("SBD's labels are MATLAB files, which scipy reads; install it with\n  pip install scipy"
                         ) from error
    return loadmat


def _read_sbd_labels(load_mat: Callable, path: Path) -> np.ndarray:
    """Labels (height, width), uint8; ValueError if the file does not hold them as SBD's do."""
    try:
        content = load_mat(path, variable_names=['GTcls'])
    except Exception as error:  # whatever a broken file makes scipy's parsers do
        raise ValueError(f'cannot be read: {error}') from error
    try:
        labels = content['GTcls'][0, 0]['Segmentation']
    except (KeyError, IndexError, ValueError):
        raise ValueError('holds no GTcls.Segmentation: is it a file of SBD\'s folder "cls"?') from None
    if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'holds a GTcls.Segmentation of shape {labels.shape}, type {labels.dtype}: no label map')
    if labels.min() < 0 or labels.max() >= VOC_CLASSES:
        raise ValueError(f'holds labels from {labels.min()} to {labels.max()}, not 0 to {VOC_CLASSES - 1}')
    return labels.astype(np.uint8)


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise ValueError(f'cannot be used: its image {path} cannot be read: {error}') from error


@contextlib.contextmanager
def _only_run(folder: Path):
    """InputError if another run writes into the folder; the lock dies with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f'another conversion into {folder} is running; wait for it') from None
    finally:
        os.close(descriptor)


def _write_masks(folder: Path, names: list[str], content: Callable[[str], bytes], progress) -> int:
    """Write what is not there; number of files written. InputError, after all others are done, for what cannot be."""
    written, faults = 0, []
    for number, name in enumerate(names, start=1):
        path = folder / f'{name}.png'
        try:
            png = content(name)
            if not path.exists():
                _write(path, png)
                written += 1
            elif not _says_the_same(path, png):
                faults.append(f'{path} exists and holds other labels (it was left as it is; move it away)')
        except ValueError as fault:
            faults.append(str(fault))
        if progress:
            progress(number, len(names))
    if faults:
        raise InputError(f'{len(faults)} of {len(names)} masks cannot be made: {listed(faults)}. Fix that and run '
                         'again: finished masks are kept')
    return written


def _says_the_same(path: Path, png: bytes) -> bool:
    if path.read_bytes() == png:
        return True
    with contextlib.suppress(ValueError):
        return np.array_equal(read_label_map(path), read_label_map(png))
    return False


def _write(path: Path, content: bytes) -> None:
    """Write beside ``path`` and rename: complete or absent. A leftover of a killed run is written over."""
    partial = path.with_name(f'.{path.name}.part')
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
