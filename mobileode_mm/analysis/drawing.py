"""Boxes, tinted classes and labels on images."""
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

LINE = 26  # height of a line of labels, px
#: Background of a label that belongs to no class.
NEUTRAL = (228, 228, 228)


def class_colour(label: int) -> tuple[int, int, int]:
    """RGB of a class index."""
    # Steps of the golden angle keep the hues of neighbours apart. Boxes do without the palette of the data
    # set: COCO's has many a dark blue that is lost on a dark image.
    hue = round(255 * (label * 0.618034 % 1))
    return Image.new('HSV', (1, 1), (hue, 190, 235)).convert('RGB').getpixel((0, 0))


def with_boxes(image: Image.Image, boxes: list[tuple], scale: float, width: int = 3) -> Image.Image:
    """Draw boxes with their labels.

    Args:
        image: RGB; it stays as it is.
        boxes: Corners (x1, y1, x2, y2), text (without one there is no label) and colour of each, the topmost last.
        scale: What the corners are multiplied by.
        width: Of the lines, in pixels.
    """
    image = image.copy()
    draw = ImageDraw.Draw(image)
    corners = [[round(scale * side) for side in box] for box, _, _ in boxes]
    for (x1, y1, x2, y2), (_, _, colour) in zip(corners, boxes, strict=True):
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=width)
    # All labels after all boxes, so that no line crosses a text.
    for (x1, y1, _, _), (_, text, colour) in zip(corners, boxes, strict=True):
        if not text:
            continue
        x = max(0, min(x1, image.width - label_width(text)))
        draw_label(draw, x, y1 - LINE if y1 >= LINE else max(0, y1), text, colour)
    return image


def with_classes(image: Image.Image, classes: torch.Tensor, metainfo: dict) -> tuple[Image.Image, list]:
    """Tint each pixel with the colour of its class; also the label of each class that occurs.

    Args:
        image: RGB.
        classes: Class indices (1, H, W), resized to the image; those that are no class are left plain.
        metainfo: ``classes``, and ``palette`` where there is one.
    """
    index_map = Image.fromarray(classes.squeeze(0).numpy().astype(np.int32))
    index_map = np.asarray(index_map.resize(image.size, Image.Resampling.NEAREST))
    pixels = np.array(image)
    palette = metainfo.get('palette')
    labels = []
    for index in np.unique(index_map):
        if 0 <= index < len(metainfo['classes']):  # others are unlabelled
            colour = tuple(palette[index]) if palette else class_colour(int(index))
            region = index_map == index
            pixels[region] = (pixels[region] * 0.45 + np.array(colour) * 0.55).astype(np.uint8)
            labels.append((metainfo['classes'][index], colour))
    return Image.fromarray(pixels), labels


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """One of matplotlib's fonts."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), 'fonts/ttf', name), size)


def label_width(text: str) -> int:
    """Width of a label, in pixels."""
    return round(font('DejaVuSans.ttf', 17).getlength(_on_one_line(text))) + 8


def draw_label(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, colour: tuple) -> None:
    """Draw a label of ``LINE`` height with its top left corner at (x, y)."""
    draw.rectangle((x, y, x + label_width(text) - 1, y + LINE - 3), fill=colour)
    bright = np.dot(colour, (0.299, 0.587, 0.114)) > 140
    draw.text((x + 4, y + LINE // 2 - 1), _on_one_line(text), fill='black' if bright else 'white',
              font=font('DejaVuSans.ttf', 17), anchor='lm')


def _on_one_line(text: str) -> str:
    """A text without ends of lines, as names from a file may have them, which Pillow cannot draw so."""
    return ''.join(character if character.isprintable() else ' ' for character in text)
