"""Which images are for training, for validation and for the test, where the data do not say it."""
import random
import re
from collections.abc import Sequence
from pathlib import Path

from ..data.formats import Image
from . import tiles

#: Share of the images, in whole groups, that validation gets.
VAL_SHARE = 0.2
#: From this number of groups on, validation gets whole groups; of fewer it would have almost none, or almost all.
_FEW_GROUPS = 5
#: Fewer images than this, if large, are parted themselves.
FEW_IMAGES = 5


def group_of(path: Path) -> str:
    """What images that resemble each other share: the original of Roboflow's copies, the series before a number.

    ``street_jpg.rf.0a1b.jpg`` and ``street_jpg.rf.2c3d.jpg`` are copies of one image; ``clip3_0001.png`` and
    ``clip3_0002.png`` are neighbours in a film.
    """
    name = path.stem.split('.rf.')[0]
    series = re.sub(r'[\W_]*\d+$', '', name) if '.rf.' not in path.stem else name
    return f'{path.parent}/{series}'


def split_off(images: Sequence[Image], seed: int) -> tuple[list[Image], list[Image], str]:
    """Training and validation images, and how they were told apart.

    Whole groups (:func:`group_of`) go to one of the two where there are enough of them; else each image is a group.
    """
    groups: dict[str, list[Image]] = {}
    for image in images:
        groups.setdefault(group_of(image.path), []).append(image)
    how = f'whole groups of images of one folder and series, {len(groups)} in all'
    if len(groups) < _FEW_GROUPS or max(map(len, groups.values())) > len(images) / 2:
        groups = {str(image.path): [image] for image in images}
        how = 'single images: their names show no series'
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    val: list[Image] = []
    while order and len(val) < VAL_SHARE * len(images) and len(order) > 1:
        val += groups[order.pop()]
    train = [image for name in sorted(order) for image in groups[name]]
    return train, val, f'a fifth of the images by seed {seed}, {how}'


def part(images: Sequence[Image], folder: Path) -> tuple[list[Image], list[Image], str]:
    """The same for a few large images, each of which is parted: the last fifth of its longer side is for validation."""
    pairs = [tiles.strip(image, VAL_SHARE, folder) for image in images]
    train, val = map(list, zip(*pairs))
    return train, val, 'the last fifth of each image along its longer side: there are too few images to leave one out'
