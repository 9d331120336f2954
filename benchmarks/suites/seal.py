"""JSON files that tell when someone has changed them."""
import hashlib
import json
from pathlib import Path

from mobileode_mm.data.json_file import read_json
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import InputError

_KEY = 'sha256'


def digest(data) -> str:
    """SHA-256 of what can be written as JSON; the order of keys does not count."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sealed(path: Path, data: dict) -> None:
    """Write a dict as JSON with the digest of its content, whole or not at all."""
    text = json.dumps({**data, _KEY: digest(data)}, indent=1, ensure_ascii=False)
    AtomicLocalBackend().put_text(f'{text}\n', path)


def read_sealed(path: Path) -> dict:
    """Read what :func:`write_sealed` wrote, with its digest under ``'sha256'``.

    Raises:
        InputError: The file is no JSON, or is not as it was written.
    """
    data = read_json(path)
    written = data.pop(_KEY, None) if isinstance(data, dict) else None
    if written != digest(data):
        raise InputError(f'{path} was changed since it was written: its content has another digest than it states')
    return {**data, _KEY: written}
