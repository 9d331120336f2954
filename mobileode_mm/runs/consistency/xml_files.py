"""Labels in Pascal VOC's XML files, a file an image, as mmdet's XMLDataset and VOCDataset read them."""
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from mmengine.fileio import list_from_file

from ...data.verify.report import Finding
from ...errors import listed
from .heads import check_counts
from .sources import Source


def check_xml(source: Source) -> Iterator[Finding]:
    """Files that cannot be read, and names in them against the classes of the config."""
    dataset, classes = source.dataset, source.classes or []
    folder = os.path.join(dataset.sub_data_root, dataset.ann_subdir)
    paths = [os.path.join(folder, f'{name}.xml') for name in list_from_file(dataset.ann_file)]
    counts: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    broken = []
    for path in paths:
        try:
            for name, difficult in _read(path, classes):
                counts[name] += 1
                objects[name] += not difficult
        except (LookupError, OSError, OverflowError, SyntaxError, ValueError) as error:
            broken.append(f'{path}: {getattr(error, "strerror", None) or error}')
    if broken:
        yield Finding(f'{source.where}: {len(broken)} of {len(paths)} XML files in {folder} cannot be read',
                      'fix them, or leave their names out of the list', tuple(broken))
    elif not sum(objects[name] for name in classes):
        if counts and not counts.keys() & {*classes}:
            yield Finding(f'{folder} has other classes than the config: no object has the name of one of '
                          f'{listed(classes)}; their names are {listed(counts)}',
                          'set metainfo=dict(classes=(...)) in the datasets, and num_classes in the head; names are '
                          'compared letter by letter')
        elif source.split != 'train':
            what = 'object but difficult ones' if counts else 'object'
            yield Finding(f'{source.where}: no image has an {what}: there is nothing to measure by')
        else:
            yield from check_counts(source, counts, objects, 'object that is not difficult')
    else:
        yield from check_counts(source, counts, objects, 'object')


def _read(path: str, classes: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Name of each object, and whether it is marked as difficult, which mmdet asks of the classes alone.

    Raises:
        LookupError, OSError, SyntaxError: The file cannot be read, or is no XML.
        OverflowError, ValueError: It lacks what mmdet reads.
    """
    root = ElementTree.parse(path).getroot()
    for entry in root.findall('object'):
        name = entry.findtext('name')
        if not name:
            raise ValueError('an object has no name')
        if name not in classes:
            yield name, False
            continue
        for key in ('xmin', 'ymin', 'xmax', 'ymax'):
            try:
                int(float(entry.findtext(f'bndbox/{key}')))
            except (OverflowError, TypeError, ValueError):
                raise ValueError(f'an object {name} has no number bndbox/{key}') from None
        difficult = entry.findtext('difficult', '0')
        if not difficult.strip().isdecimal():
            raise ValueError(f'an object {name} has difficult {difficult!r}: 0 or 1 is wanted')
        yield name, int(difficult) != 0
    size = root.find('size')
    if size is not None and not all((size.findtext(key) or '').strip().isdecimal() for key in ('width', 'height')):
        raise ValueError('its size has no whole number width or height')
