"""Fetching a file from the web."""
import http.client
import os
import shutil
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import InputError

#: How long a server may be silent.
SECONDS = 20


def file_name(url: str) -> str:
    """Last part of a URL's path, as a name of a file; '' where there is none.

    Raises:
        InputError: It is no URL.
    """
    try:
        path = Path(unquote(urlsplit(url).path))
    except ValueError as error:
        raise InputError(f'{url[:300]} is no URL: {error}') from error
    # File systems take 255 bytes, of which the name of an unfinished file adds some.
    return path.name.replace('\0', '')[-50:].lstrip('.')


def fetch(url: str, file: str | os.PathLike) -> None:
    """Fetch a http(s) URL into a file, which appears when it is whole.

    Raises:
        InputError: It cannot be fetched, or not whole.
    """
    temporary = f'{os.fspath(file)}.{uuid.uuid4().hex[:8]}.tmp'
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response, open(temporary, 'wb') as copy:
            shutil.copyfileobj(response, copy)
            if response.length:  # bytes that were announced and did not come
                raise OSError('it broke off')
        os.replace(temporary, file)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f'{url[:300]} cannot be fetched ({getattr(error, "reason", error)}). Is there a network? '
                         'Otherwise bring the file here by other means, and name it') from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
