"""Fetching a file from the web."""
import http.client
import os
import shutil
import urllib.request
import uuid

from ..errors import InputError

#: How long a server may be silent.
SECONDS = 20


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
        raise InputError(f'{url} cannot be fetched ({getattr(error, "reason", error)}). Is there a network? Otherwise '
                         'bring the file here by other means, and name it') from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
