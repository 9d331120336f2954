"""Label maps as Pascal VOC keeps them: PNGs whose pixels are class indices, with a palette to look at them."""

import io
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

#: Background and the twenty classes of Pascal VOC.
VOC_CLASSES = 21
#: Pixels of no class: edges, and objects that are too hard.
VOID = 255


def voc_palette() -> bytes:
    """VOC's colour map: the index's bits go in turn to red, green and blue and fill each from the top."""
    index = np.arange(256)
    colours = [sum((index >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)]
    return np.stack(colours, axis=1).astype(np.uint8).tobytes()


def palette_png(labels: np.ndarray) -> bytes:
    """A PNG with VOC's palette of uint8 ``labels`` (height, width)."""
    image = Image.frombytes('P', labels.shape[::-1], labels.tobytes())
    image.putpalette(voc_palette())
    buffer = io.BytesIO()
    image.save(buffer, format='PNG')
    return buffer.getvalue()


def label_png(labels: np.ndarray) -> bytes:
    """A PNG of ``labels`` (height, width): with VOC's palette of uint8, grey and of 16 bits of uint16."""
    if labels.dtype == np.uint8:
        return palette_png(labels)
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format='PNG')
    return buffer.getvalue()


def read_label_map(png: str | os.PathLike | bytes) -> np.ndarray:
    """Labels (height, width), uint8, of a PNG with VOC's palette, or of a grey one.

    Args:
        png: Its path, or its content.

    Raises:
        ValueError: It cannot be read, is an image in colours, has another palette, or holds a label that is
            neither one of VOC's classes nor void.
    """
    try:
        with Image.open(io.BytesIO(png) if isinstance(png, bytes) else png) as image:
            image.load()
            labels, mode = np.asarray(image), image.mode
            palette = image.getpalette() if mode == 'P' else None
    except UnidentifiedImageError:
        raise ValueError('is broken or no image') from None
    except Exception as error:  # Pillow raises whatever its decoders do
        raise ValueError(f'cannot be read: {error}') from error
    if mode not in ('P', 'L'):
        raise ValueError(f'is no label map but an image of mode {mode}, with colours where class indices belong')
    used = np.unique(labels)
    illegal = [int(label) for label in used if label >= VOC_CLASSES and label != VOID]
    if illegal:
        raise ValueError(f'holds label {illegal[0]}, neither a class (0 to {VOC_CLASSES - 1}) nor void ({VOID})')
    if palette is not None:
        right = voc_palette()
        recoloured = [label for label in used.tolist()
                      if bytes(palette[3 * label:3 * label + 3]) != right[3 * label:3 * label + 3]]
        if recoloured:
            raise ValueError(f"shows label {recoloured[0]} in another colour than VOC's palette: "
                             'a program that saved it may have numbered the colours anew')
    return labels


def check_size(labels: np.ndarray, size: tuple[int, int]) -> None:
    """ValueError if ``labels`` are not of the (width, height) of their image."""
    height, width = labels.shape
    if (width, height) != size:
        raise ValueError(f'is {width}x{height}, its image {size[0]}x{size[1]}')
