"""Where the data sets come from, and where they are in a folder that the user names."""

import os
from pathlib import Path

from ..errors import InputError, listed

#: By data set, what to download.
SOURCES = {
    'COCO 2017': 'http://images.cocodataset.org/annotations/annotations_trainval2017.zip, .../zips/train2017.zip '
                 '(18 GB) and .../zips/val2017.zip (1 GB), unpacked into one folder',
    'Pascal VOC 2012': 'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar (2 GB)',
    'Semantic Boundaries Dataset':
        'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz',
    'ImageNet': 'https://image-net.org/download.php (registration needed): ILSVRC2012_img_train.tar and '
                'ILSVRC2012_img_val.tar',
    'ImageNet-R': 'https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar (2 GB), and the lists of docs/data.md',
    'Tiny-ImageNet': 'http://cs231n.stanford.edu/tiny-imagenet-200.zip (240 MB), and the list of docs/data.md',
    'ADE20K': 'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (1 GB)',
    'BUSI': 'https://scholar.cu.edu.eg/Dataset_BUSI.zip (200 MB), converted as docs/data.md has it',
    'faces': 'http://shuoyang1213.me/WIDERFACE/ or another set of faces, in the format of COCO and the layout of '
             'docs/data.md',
    'tree photographs': 'https://github.com/weecology/DeepForest (20 MB); python -m benchmarks.tree_parts, in a '
                        'checkout of this project, fetches and cuts them',
    'CIFAR-10': 'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz, unpacked',
}


def find_below(path: str | os.PathLike, places: tuple, inside: tuple, what: str) -> Path:
    """The first of ``places`` below ``path`` that has all folders ``inside``; ``what`` is one of ``SOURCES``.

    Raises:
        InputError: There is none; names what ``path`` has instead, and where to get the data.
    """
    path = Path(path).expanduser()
    for place in places:
        if all((path / place / name).is_dir() for name in inside):
            return path / place
    if not path.is_dir():
        raise InputError(f'there is no folder {path}. To get {what}: {SOURCES[what]}')
    present = sorted(entry.name for entry in path.iterdir())
    raise InputError(f'{path} is not the folder of {what}: it has no {" and no ".join(inside)}, but '
                     f'{listed(present) or "nothing"}. To get {what}: {SOURCES[what]}')
