"""Which checkpoint does a stopped run go on from?"""
import os
import re
from pathlib import Path

from ..errors import InputError
from .reading import read_checkpoint

# Bytes that Linux takes.
_LONGEST_PATH, _LONGEST_NAME = 4095, 255


def find_resume_checkpoint(*folders: str | Path, trust: bool = False) -> tuple[str | None, list[str]]:
    """The whole checkpoint that a run goes on from.

    That is the one that ``last_checkpoint`` names, if it is whole; else the newest whole ``epoch_*.pth`` or
    ``iter_*.pth``.

    Args:
        folders: The work dir, and where its checkpoints lie if that is elsewhere.
        trust: As for :func:`read_checkpoint`.

    Returns:
        The path, None where there is no checkpoint at all, and lines for the log.

    Raises:
        InputError: There are checkpoints, but none is whole, or only such of the best epoch.
    """
    marker = Path(folders[0], 'last_checkpoint')
    named = _first_line(marker)
    # A work dir that was moved or copied holds the file itself; what the path names may be another run's by now.
    candidates = [*(Path(folder, Path(named).name) for folder in folders), Path(named)] if named else []
    candidates += numbered_checkpoints(*folders)
    faults = []
    for path in dict.fromkeys(candidates):
        if not path.is_file():
            continue
        try:
            meta = read_checkpoint(path, trust).get('meta', {})
        except InputError as error:
            faults.append(str(error))
            continue
        if 'epoch' not in meta or 'iter' not in meta:
            faults.append(f'{path} does not say which iteration it is of')
            continue
        if faults or named and path.name != Path(named).name:
            reason = faults[0] if faults else f'{named}, named by last_checkpoint, does not exist'
            return str(path), [f'{reason}; resuming from {path} instead']
        return str(path), []
    if faults:
        raise InputError(f'nothing to resume in {folders[0]}: {"; ".join(faults)}. Start anew in another --work-dir')
    best = best_checkpoints(*folders)
    if best:
        raise InputError(f'nothing to resume in {folders[0]}: it holds {best[0].name}, which has no state of the '
                         'optimizer and would be overwritten. To start from its weights: another --work-dir, and '
                         f'--cfg-options load_from={best[0]}')
    return None, [f'{folders[0]} holds no checkpoint to resume: starting anew']


def best_checkpoints(*folders: str | Path) -> list[Path]:
    """``best_*.pth`` in these folders."""
    return [path for folder in dict.fromkeys(map(Path, folders)) for path in sorted(folder.glob('best_*.pth'))]


def _first_line(marker: Path) -> str:
    """What a file names; '' where it is absent, or holds no name that a file can have."""
    if not marker.is_file():
        return ''
    with open(marker, 'rb') as file:
        lines = file.read(_LONGEST_PATH).splitlines()
    name = os.fsdecode(lines[0].strip()) if lines else ''
    return name if '\0' not in name and len(os.fsencode(Path(name).name)) <= _LONGEST_NAME else ''


def numbered_checkpoints(*folders: str | Path) -> list[Path]:
    """``epoch_*.pth`` and ``iter_*.pth`` in these folders, the latest first."""
    families = {}
    for folder in dict.fromkeys(map(Path, folders)):
        for path in folder.glob('*.pth'):
            match = re.fullmatch(r'(epoch|iter)_(\d+)\.pth', path.name)
            if match:
                families.setdefault((folder, match[1]), []).append((int(match[2]), path))
    # Within a family the number is the age, whatever was copied when.
    ordered = [sorted(family, reverse=True) for family in families.values()]
    ordered.sort(key=lambda family: family[0][1].stat().st_mtime, reverse=True)
    return [path for family in ordered for _, path in family]
