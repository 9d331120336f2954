"""What a check of a data set found: numbers for each split, problems with their remedies, and notes."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        what: The sentence without its full stop.
        remedy: What to do; empty for a note.
        names: Files or entries that it is about.
    """

    what: str
    remedy: str = ''
    names: tuple = ()


@dataclass
class Report:
    """What was found.

    Attributes:
        title: The data set and its folder.
        rows: Numbers of each split, by their names; the splits' own names under ``'split'``.
        problems: What training would stop at, or would learn wrongly from.
        notes: What training puts up with.
    """

    title: str
    rows: list[dict] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def problem(self, what: str, remedy: str, names: Iterable = ()) -> None:
        self.problems.append(Finding(what, remedy, tuple(names)))

    def note(self, what: str, names: Iterable = ()) -> None:
        self.notes.append(Finding(what, '', tuple(names)))

    def compare(self, split: str, what: str, found: int, published: int | None) -> None:
        """A problem where a number is not the published one; None where none is."""
        if published is not None and found != published:
            self.problem(f'{split} has {found:,} {what}, the published set {published:,}',
                         'unpack the archive again, or say --subset if a part or data of your own is meant')

    def text(self, most: int | None = 10) -> str:
        """Table, notes and problems; of each no more than ``most`` names, None for all."""
        parts = [self.title, *_table(self.rows)]
        parts += [_sentence('note: ', note, most) for note in self.notes]
        for number, problem in enumerate(self.problems, start=1):
            parts.append(_sentence(f'problem {number}: ', problem, most))
        number = len(self.problems)
        parts.append('no problem found' if not number else f'{number} problem{"s" * (number > 1)}')
        return '\n'.join(parts)


def _table(rows: list[dict]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns] + [[_cell(row.get(name, '')) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ['  '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines if columns]


def _cell(value) -> str:
    return f'{value:,}' if isinstance(value, int) else str(value)


def _sentence(label: str, finding: Finding, most: int | None) -> str:
    shown = finding.names[:most]
    text = f'{label}{finding.what}'
    if shown:
        text += ':' + ''.join(f'\n    {name}' for name in shown)
    if len(finding.names) > len(shown):
        text += f'\n    and {len(finding.names) - len(shown)} more (--all-names lists them)'
    return text + (f'\n  what to do: {finding.remedy}' if finding.remedy else '')
