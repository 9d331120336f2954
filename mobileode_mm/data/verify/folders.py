"""A folder of data of any layout that is known: the published ones, COCO files under any name, class folders."""
import os
from pathlib import Path

from torchvision.datasets import CIFAR10

from ...errors import InputError, listed
from ..coco_file import read_coco
from ..json_file import json_files
from ..voc import LISTS
from .annotations import absent_lists, check_file, usable_entries
from .cifar10 import verify_cifar10
from .files import READ_ALL, Reading, check_files, read_whole_image
from .imagenet import SUFFIXES, verify_imagenet
from .report import Report
from .voc import verify_voc

#: Where exports of annotation tools keep images, seen from the annotation file (``{}`` is its name) and its folder.
_IMAGES = ('.', 'images', '{}', '../{}', '../images', '../images/{}', '..')


def verify_folder(root: str | os.PathLike, reading: Reading = READ_ALL) -> Report:
    """Check the data set in a folder, whose layout is recognised.

    Args:
        root: The folder.
        reading: How images are read.

    Raises:
        InputError: No layout is recognised.
    """
    root = Path(root).expanduser()
    if (root / CIFAR10.base_folder).is_dir():
        return verify_cifar10(root)
    if any((root / place / LISTS).is_dir() for place in ('.', 'VOC2012', 'VOCdevkit/VOC2012')):
        return verify_voc(root, subset=True, reading=reading)
    files, broken = {}, []
    for path in json_files(root, 1):
        try:
            document, filled = read_coco(path)
        except InputError as error:
            broken.append(error)
            continue
        if not absent_lists(document):
            files[path] = document, filled
    if broken and not files:
        raise broken[0]
    if files:
        report = _verify_coco_files(root, files, reading)
        for error in broken:
            report.problem(str(error), 'copy it here again, or take it away')
        return report
    if (root / 'train').is_dir() and any(path.suffix.lower() in SUFFIXES for path in root.glob('train/*/*')):
        return verify_imagenet(root, subset=True, reading=reading)
    raise InputError(f'{root} holds no data set in a layout that is known: COCO annotation files (*.json), Pascal VOC '
                     f'({LISTS}), class folders in train, or CIFAR-10. It has '
                     f'{listed(sorted(path.name for path in root.iterdir())) or "nothing"}')


def _verify_coco_files(root: Path, files: dict[Path, tuple[dict, dict]], reading: Reading) -> Report:
    """Check COCO annotation files, by their paths what :func:`read_coco` returned, and their images."""
    report = Report(f'COCO annotation files in {root}')
    classes: dict[Path, list[str]] = {}
    seen: dict[str, Path] = {}
    for path, (document, filled) in files.items():
        report.add(*check_file(str(path), document))
        for what, numbers in filled.items():
            report.note(f'{path}: {what} of {len(numbers)} annotations is absent or of no use, and derived')
        kept, _ = usable_entries(str(path), document, '')
        classes[path] = [category['name'] for category in kept['categories']]
        folder = _folder(path, [image['file_name'] for image in kept['images']])
        sizes = {str(folder / image['file_name']): (image['width'], image['height']) for image in kept['images']}
        shared = [name for name in sizes if name in seen]
        if shared:
            report.note(f'{len(shared)} images of {path} are in {seen[shared[0]]} too: results on one are too good '
                        'where the other is trained on', shared)
        seen.update(dict.fromkeys(sizes, path))
        row = {'file': str(path.relative_to(root)), 'images': len(sizes), 'objects': len(kept['annotations']),
               'classes': len(kept['categories'])}
        report.rows.append(row)

        def read(name: str, sizes=sizes) -> None:
            height, width = read_whole_image(name).shape[:2]
            if (width, height) != sizes[name]:
                raise ValueError(f'is {width}x{height}, the annotation file says {sizes[name][0]}x{sizes[name][1]}')

        row['read'] = len(check_files(report, path.name, list(sizes), 'images',
                                      f'put them into {folder}, as they were annotated', reading, read))
    first, *others = files
    for path in others:
        if classes[path] != classes[first]:
            report.problem(f'{first} and {path} list different classes, or in another order',
                           'labels follow the list: use the same in all files',
                           [listed(classes[first]), listed(classes[path])])
    return report


def _folder(path: Path, names: list[str]) -> Path:
    """The folder in which the images of an annotation file are; its own where none is found."""
    stem = path.stem.removeprefix('instances_')
    for place in _IMAGES:
        folder = path.parent / place.format(stem)
        if any((folder / name).is_file() for name in names[:20]):
            return folder
    return path.parent
