"""What a user gives to inference: images, folders, patterns, videos, a camera, a URL."""
import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import cv2
import numpy as np

from ..checkpoints.fetching import fetch, file_name
from ..data.formats.found import SUFFIXES
from ..errors import InputError

#: Also of kinds that this machine's OpenCV or Pillow may not read: such a file is named, where nothing would be said
#: of one that is passed over.
IMAGES = (*SUFFIXES, '.pbm', '.pnm', '.gif', '.jp2', '.avif', '.heic', '.heif')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


class Source(NamedTuple):
    """One image, video or camera.

    Attributes:
        name: As the user named it.
        file: File that is read; the index of a camera.
        moving: Whether it has many frames.
    """
    name: str
    file: str | int
    moving: bool


class Frame(NamedTuple):
    """An image to look at.

    Attributes:
        source: Where it comes from.
        number: Of the frame in a video, from 0; 0 for an image.
        pixels: (H, W, 3), uint8, BGR.
        rate: Frames a second of a video.
    """
    source: Source
    number: int
    pixels: np.ndarray
    rate: float = 0.


def find_sources(inputs: Sequence[str | os.PathLike | int], stack: ExitStack) -> list[Source]:
    """Resolve what the user named, in this order, without looking into the files.

    A folder stands for its own images and videos (not those of folders in it), in the order of their names. A number
    that names no file is a camera.

    Args:
        inputs: Files, folders, patterns (``*``, ``?``, ``**``), indices of cameras, http(s) URLs of images.
        stack: Removes what was fetched when it is closed.

    Raises:
        InputError: An input does not exist, a folder or pattern has no image, a URL cannot be fetched.
    """
    sources = []
    for given in map(str, inputs):
        path = os.path.expanduser(given)
        if '://' in given:
            sources.append(Source(given, _fetch(given, stack), moving=False))
        elif os.path.isdir(path):
            sources += [_file(entry) for entry in _folder(path)]
        elif os.path.exists(path):
            sources.append(_file(path))
        elif given.isdecimal():
            sources.append(Source(f'camera {given}', int(given), moving=True))
        elif glob.has_magic(path):
            found = [match for match in sorted(glob.glob(path, recursive=True)) if os.path.isfile(match)]
            if not found:
                raise InputError(f'no file matches {given}')
            sources += map(_file, found)
        else:
            raise InputError(f'there is no file or folder {given}')
    if not sources:
        raise InputError('no input is given: name images, folders, patterns, videos, or the index of a camera')
    return sources


def read_frames(sources: Sequence[Source], read_image: Callable[[str], np.ndarray],
                skip: Callable[[Source, str], object]) -> Iterator[Frame]:
    """Read one frame after the other.

    Args:
        sources: As :func:`find_sources` gives them.
        read_image: Gives the BGR pixels of a file; raises ValueError where it cannot.
        skip: Called with a source that cannot be read, and why.

    Raises:
        InputError: There is no such camera.
    """
    for source in sources:
        if source.moving:
            yield from _read_video(source, skip)
            continue
        try:
            pixels = read_image(source.file)
        except ValueError as fault:
            skip(source, str(fault))
        else:
            yield Frame(source, 0, pixels)


def _file(path: str) -> Source:
    return Source(path, path, moving=path.lower().endswith(VIDEOS))


def _folder(folder: str) -> list[str]:
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))
             if name.lower().endswith(IMAGES + VIDEOS) and not name.startswith('.')]
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        raise InputError(f'the folder {folder} holds no image and no video (names that end in '
                         f'{", ".join(IMAGES + VIDEOS)})')
    return paths


def _fetch(url: str, stack: ExitStack) -> str:
    name = file_name(url)
    if url.split('://')[0] not in ('http', 'https'):
        raise InputError(f'{url} is not read: of URLs only http and https are')
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    file = os.path.join(folder, name or 'image')
    fetch(url, file)
    return file


def _read_video(source: Source, skip: Callable[[Source, str], object]) -> Iterator[Frame]:
    with ExitStack() as stack:
        yield from _read_frames_of(cv2.VideoCapture(_name_for_opencv(source.file, stack)), source, skip)


def _name_for_opencv(file: str | int, stack: ExitStack) -> str | int:
    """A name of the file in UTF-8: another crashes OpenCV."""
    if isinstance(file, int) or os.fsencode(file).decode(errors='replace') == file:
        return file
    link = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), 'video' + os.path.splitext(file)[1])
    os.symlink(os.path.abspath(file), link)
    return link


def _read_frames_of(video: cv2.VideoCapture, source: Source, skip: Callable[[Source, str], object]) -> Iterator[Frame]:
    try:
        if not video.isOpened():
            if isinstance(source.file, int):
                raise InputError(f'there is no {source.name}, or another program has it')
            skip(source, 'is broken or no video')
            return
        rate = video.get(cv2.CAP_PROP_FPS)
        number = 0
        while True:
            there, pixels = video.read()
            if not there:
                break
            yield Frame(source, number, pixels, rate if 0 < rate < 1000 else 25.)
            number += 1
        if not number:
            skip(source, 'has no frame that can be read')
    finally:
        video.release()
