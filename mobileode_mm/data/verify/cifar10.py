"""CIFAR-10 in its Python version, which mmpretrain reads."""

import hashlib
import os
from pathlib import Path

from torchvision.datasets import CIFAR10

from ..places import SOURCES, find_below
from .report import Report

#: Images in each file as published.
IN_A_FILE = 10_000


def verify_cifar10(root: str | os.PathLike) -> Report:
    """Check the files of ``cifar-10-batches-py`` against the published checksums; nothing is unpickled.

    Args:
        root: The folder that holds ``cifar-10-batches-py``, as mmpretrain's ``data_root``.

    Raises:
        InputError: There is no such folder.
    """
    root = find_below(root, ('.', 'cifar10'), (CIFAR10.base_folder,), 'CIFAR-10')
    report = Report(f'CIFAR-10 in {root}')
    meta = [(CIFAR10.meta['filename'], CIFAR10.meta['md5'])]
    for split, files in (('train', CIFAR10.train_list), ('test', CIFAR10.test_list), ('names of the classes', meta)):
        whole = 0
        for name, published in files:
            path = root / CIFAR10.base_folder / name
            remedy = f'get it again: {SOURCES["CIFAR-10"]}'
            if not path.is_file():
                report.problem(f'there is no {path}', remedy)
            elif md5_of(path) != published:
                report.problem(f'{path} is not the published file: its MD5 is another', remedy)
            else:
                whole += 1
        report.rows.append({'split': split, 'files': len(files), 'whole': whole,
                            'images': whole * IN_A_FILE if files is not meta else ''})
    return report


def md5_of(path: Path) -> str:
    """Checksum of a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
