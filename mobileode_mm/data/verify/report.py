"""What a check of a data set found: numbers for each split, problems with their remedies, and notes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

#: In the place of a number of images that were not looked at.
NOT_CHECKED = 'not checked'


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        what: The sentence without its full stop; it names the file.
        remedy: What to do; empty where there is nothing to do.
        names: Files or entries that it is about.
        severity: ``'error'``: training would stop at it or learn wrongly. ``'warning'``: doubtful.
    """

    what: str
    remedy: str = ''
    names: tuple[str, ...] = ()
    severity: str = 'error'

    def text(self, label: str = '', most: int | None = 10, more: str = '') -> str:
        """A sentence, a line for each of at most ``most`` names, and what to do.

        Args:
            label: Before the sentence.
            most: Names that are listed; None for all.
            more: What lists the others.
        """
        shown = self.names[:most]
        text = f'{label}{self.what}'
        if shown:
            text += ':' + ''.join(f'\n    {name}' for name in shown)
        if len(self.names) > len(shown):
            text += f'\n    and {len(self.names) - len(shown)} more{more}'
        return text + (f'\n  what to do: {self.remedy}' if self.remedy else '')


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
        self.add(Finding(what, remedy, tuple(names)))

    def note(self, what: str, names: Iterable = ()) -> None:
        self.add(Finding(what, '', tuple(names), 'warning'))

    def add(self, *findings: Finding) -> None:
        """Take findings that are not there yet."""
        for finding in findings:
            kept = self.problems if finding.severity == 'error' else self.notes
            if finding not in kept:
                kept.append(finding)

    def compare(self, split: str, what: str, found: int, published: int | None) -> None:
        """A problem where a number is not the published one; None where none is."""
        if published is not None and found != published:
            self.problem(f'{split} has {found:,} {what}, the published set {published:,}',
                         'unpack the archive again, or say --subset if a part or data of your own is meant')

    def text(self, most: int | None = 10) -> str:
        """Table, notes and problems; of each no more than ``most`` names, None for all."""
        parts = [self.title, *_table(self.rows)]
        more = ' (--all-names lists them)'
        parts += [note.text('note: ', most, more) for note in self.notes]
        parts += [problem.text(f'problem {number}: ', most, more) for number, problem in enumerate(self.problems, 1)]
        number = len(self.problems)
        unseen = {row.get('images') == NOT_CHECKED for row in self.rows}
        if number:
            parts.append(f'{number} problem{"s" * (number > 1)}')
        elif unseen == {True}:
            parts.append(NOT_CHECKED)
        else:
            parts.append('no problem found' + ' in what was checked' * (True in unseen))
        return '\n'.join(parts)

    def refusal(self, most: int = 5) -> str:
        """The problems for one message: what is wrong and what to do, of each and of their names ``most``."""
        if len(self.problems) == 1:
            return self.problems[0].text(most=most)
        parts = [f'{len(self.problems)} problems in {self.title}']
        parts += [problem.text(f'problem {number}: ', most) for number, problem in enumerate(self.problems[:most], 1)]
        if len(self.problems) > most:
            parts.append(f'and {len(self.problems) - most} more; `mobileode verify` lists all')
        return '\n'.join(parts)


def _table(rows: list[dict]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns] + [[_cell(row.get(name, '')) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ['  '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines if columns]


def _cell(value) -> str:
    return f'{value:,}' if isinstance(value, int) else str(value)
