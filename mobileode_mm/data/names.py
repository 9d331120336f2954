"""Names for files that are written for images of any folders."""
import os
from collections import Counter
from collections.abc import Iterable, Sequence


def unique_names(paths: Sequence[str]) -> dict[str, str]:
    """A file name for each path, which no other has: its own, with its folders before it where another has the same.

    Args:
        paths: Files. The same list gives the same names, in whatever process.

    Returns:
        Names with their suffixes, such as ``0001.jpg`` or ``cam0_0001.jpg``.
    """
    paths = list(dict.fromkeys(paths))
    shared = Counter(os.path.basename(path).casefold() for path in paths)
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else ''
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = os.path.basename(path)
        if shared[name.casefold()] > 1:
            name = os.path.relpath(os.path.abspath(path), root).replace(os.sep, '_')
        names[path] = free_name(name, taken)
        taken.add(names[path].casefold())
    return names


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name``, with a number before its suffix where ``taken`` (in small letters) has it already."""
    stem, suffix = os.path.splitext(name)
    number, found = 1, name
    while found.casefold() in taken:
        number += 1
        found = f'{stem}_{number}{suffix}'
    return found
