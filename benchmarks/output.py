"""What results are written as: tables in Markdown, JSON files."""

import json
from collections.abc import Sequence
from pathlib import Path

from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import InputError

#: Of known metrics, the one that a task is known by first: shown name, and what makes a per cent of it.
METRICS = {
    'coco/bbox_mAP': ('AP', 100),
    'mIoU': ('mIoU', 1),
    'accuracy/top1': ('top-1', 1),
    'coco/bbox_mAP_50': ('AP50', 100),
    'accuracy/top5': ('top-5', 1),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a ``|`` inside a cell, which would end it, becomes ``/``."""
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(cell.replace("|", "/") for cell in line)} |' for line in lines)


def number(value: float | None) -> str:
    """Three digits, or all before the point; a dash for None."""
    return '–' if value is None else f'{value:.3g}' if value < 100 else f'{value:.0f}'


def json_text(data) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + '\n'


def write_json(path: Path, data) -> None:
    """Write a JSON file, whole or not at all."""
    AtomicLocalBackend().put_text(json_text(data), path)


def around_the_table(page: Path, marks: tuple[str, str]) -> tuple[str, str]:
    """What stands before and behind the table of a page, the marks included.

    Raises:
        InputError: The page cannot be read, or has not both marks.
    """
    try:
        text = page.read_text(encoding='utf-8')
    except OSError as error:
        raise InputError(f'--page {page} cannot be read: {error.strerror}') from error
    before, first, rest = text.partition(marks[0])
    _, last, after = rest.partition(marks[1])
    if not last:
        raise InputError(f'--page {page} has no lines {marks[0]} and {marks[1]} to write the table between')
    return before + first, last + after
