"""What results are written as: tables in Markdown, JSON files."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

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


def markdown(parts: Sequence[str | dict]) -> str:
    """Paragraphs, and tables by ``head`` and ``rows``."""
    return '\n\n'.join(part if isinstance(part, str) else table(part['head'], part['rows']) for part in parts)


def number(value: float | None) -> str:
    """Three digits, or all before the point; a dash for None."""
    return '–' if value is None else f'{value:.3g}' if value < 100 else f'{value:.0f}'


def mean_and_each(values: Sequence[float]) -> str:
    """A mean, and in brackets the values that it is of."""
    return f'{mean(values):.1f} ({", ".join(f"{value:.1f}" for value in values)})'


def json_text(data) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + '\n'


def write_json(path: Path, data) -> None:
    """Write a JSON file, whole or not at all."""
    AtomicLocalBackend().put_text(json_text(data), path)


def around(page: Path, name: str) -> tuple[str, str]:
    """What stands before and behind the text between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` of a page.

    Raises:
        InputError: The page cannot be read, or does not have both marks.
    """
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    try:
        before, found, rest = page.read_text(encoding='utf-8').partition(begin)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{page} cannot be read: {error}') from error
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise InputError(f'{page} has no lines {begin} and {end} to write the table between')
    return before + begin, end + after


def page_and_mark(argument: str | None, default: str) -> tuple[Path | None, str]:
    """Page and name of the marks of ``--page FILE[#NAME]``, looked at before anything is measured.

    Raises:
        InputError: As :func:`around`.
    """
    name, _, mark = (argument or '').partition('#')
    page = Path(name) if name else None
    if page:
        around(page, mark or default)
    return page, mark or default


def put_into_page(page: Path, name: str, results: object, text: str) -> None:
    """Write a text into a Markdown page, between its marks, and what it says to ``results/NAME.json`` beside the page.

    Args:
        page: The page: see :func:`around`.
        name: Of the marks, and of the JSON file.
        results: Of which ``benchmarks/results_page.py`` makes the text again, for docs/.
        text: What stands between the marks.
    """
    before, after = around(page, name)
    write_json(page.parent / 'results' / f'{name}.json', results)
    AtomicLocalBackend().put_text(f'{before}\n{text.strip()}\n{after}', page)
