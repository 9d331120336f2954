"""What the parts share: where and how long they run, their cases, and the journal that a case is written into.

A part is a module with ``TITLE``, ``cases(plan)``, which yields its cases in order of worth, and ``markdown(rows)``.
"""
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from ..output import number, table


@dataclass(frozen=True)
class Plan:
    """Where and how long a part runs.

    Attributes:
        folder: Of the results, those of the parts before among them.
        device: The GPU; the CPU in a dry run.
        is_dry: Tiny shapes, on the CPU, Triton in its interpreter.
        until: When to stop, in ``time.time()``'s seconds.
    """
    folder: Path
    device: torch.device
    is_dry: bool
    until: float

    def seconds_left(self) -> float:
        return max(0.0, self.until - time.time())


class Case(NamedTuple):
    """Something that is done by itself: its fault does not stop the next.

    Attributes:
        name: Unlike all others of the part.
        run: Returns what is written down; ``error`` in it tells that something is wrong.
        group: Cases of one group use the same compiled kernels, and run in one process.
    """
    name: str
    run: Callable[[], dict]
    group: str = ''


class Journal:
    """What a process has begun and what came of it, line by line: a process that dies loses nothing."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, name: str) -> None:
        self._add(dict(begun=name))

    def end(self, name: str, row: dict) -> None:
        self._add(dict(ended=name, row={'case': name, 'error': None, **row}))

    def read(self) -> tuple[list[str], dict[str, dict]]:
        """Names that were begun, and the rows of those that ended; a line cut short is left out."""
        begun, rows = [], {}
        for line in self.path.read_text(encoding='utf-8').split('\n')[:-1] if self.path.exists() else []:
            entry = json.loads(line)
            if 'begun' in entry:
                begun.append(entry['begun'])
            else:
                rows[entry['ended']] = entry['row']
        return begun, rows

    def _add(self, entry: dict) -> None:
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(entry, ensure_ascii=False) + '\n')


def journal_of(folder: Path, part: str, shard: int) -> Journal:
    """Of one of the processes that share a part."""
    return Journal(folder / f'.{part}.{shard}.jsonl')


def table_of(rows: list[dict], columns: dict[str, str]) -> str:
    """Rows as Markdown: under each title what a row has under that key; numbers with three digits, a fault in bold.

    Args:
        rows: The cases that ended.
        columns: Key of a row, by title.
    """
    def cell(value) -> str:
        return number(value) if isinstance(value, float | None) else str(value)

    return table(['case', *columns, 'fault'], [
        [row['case'], *(cell(row.get(key)) for key in columns.values()), row['error'] or ''] for row in rows])
