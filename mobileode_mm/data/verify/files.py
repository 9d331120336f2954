"""Image files of a split: are they there, do they hold anything, can they be read?"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..images import file_sizes, find_faulty, read_image
from .report import Report

_USUAL = (b'\xff\xd8', b'\x89PNG')


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        seconds: Time for each split; in the time an evenly spread sample is read.
        progress: Gives a ``progress(done, total)`` for the files named.
    """

    seconds: float = math.inf
    progress: Callable[[str], Callable[[int, int], object] | None] = lambda what: None


#: Every image, without a word on the way.
READ_ALL = Reading()


def check_files(report: Report, split: str, paths: list[str], what: str, remedy: str, reading: Reading,
                read: Callable[[str], object] | None = None) -> set[str]:
    """Look for files that are missing, empty or unreadable, and add a problem for each kind.

    Args:
        report: Takes the problems.
        split: Name of the split.
        paths: Files.
        what: What they are, for the message.
        remedy: How to get them whole.
        reading: How they are read.
        read: Raises ValueError for a file that is faulty; :func:`read_whole_image` by default.

    Returns:
        Those that were read, faulty ones among them.
    """
    sizes = file_sizes(paths)
    for fault, wrong in (('do not exist', [path for path in paths if path not in sizes]),
                         ('are empty files', [path for path in paths if sizes.get(path) == 0])):
        if wrong:
            report.problem(f'{split}: {len(wrong)} of {len(paths)} {what} {fault}', remedy, wrong)
    whole = [path for path in paths if sizes.get(path)]
    done = []

    def read_one(path: str) -> None:
        done.append(path)
        (read or read_whole_image)(path)

    faults = find_faulty(whole, read_one, reading.seconds, reading.progress(f'{split}: {what}')) if whole else {}
    if faults:
        report.problem(f'{split}: {len(faults)} of {len(done)} {what} that were read cannot be used', remedy,
                       [f'{path} ({fault})' for path, fault in faults.items()])
    return set(done)


def read_whole_image(path: str) -> np.ndarray:
    """Decode an image, turned as its camera says; (height, width, ...).

    Pillow reports a file that breaks off, where some versions of OpenCV fill the rest with grey. A file that is
    neither JPEG nor PNG must be one that OpenCV, with which training reads, can decode too.

    Raises:
        ValueError: It cannot be decoded.
    """
    image = read_image(path, backend='pillow', flag='color')
    with open(path, 'rb') as file:
        start = file.read(4)
    if not start.startswith(_USUAL):
        read_image(path)
    return image
