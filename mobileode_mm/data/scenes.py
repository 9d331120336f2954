"""Paint handwritten digits on photographs.

Every function draws its chances from the generator it is given and from nothing else.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MINI_CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

#: Ink above this opacity belongs to the digit: it makes the masks, and the boxes are tight around it.
INK = 0.35
#: Shortest and longest length of a digit's longer side, in pixels.
SHORTEST, LONGEST = 56, 150
#: Clear pixels kept between the paint of two digits, and between paint and the edge of the image.
GAP = 1

_SLACK = 3  # the ink's length is kept to within this many pixels
_CELL = 12  # pixels a glyph's pixel is enlarged to
_PAD = 3  # empty glyph pixels around the 8x8, so that neither cubic ringing nor a rotation leaves the canvas


@dataclass(frozen=True)
class Ink:
    """How far ink stands off from its ground.

    Attributes:
        contrast: least and most distance of the mean levels, 0 to 255.
        per_spread: further distance for each level of the ground's standard deviation: on a restless ground the ink
            must differ more to be seen at all.
        texture: largest share of the ground's texture that shows through the ink.
    """

    contrast: tuple
    per_spread: float
    texture: float


SCENE_INK = Ink((45, 110), 0.6, 0.4)
# A crop has nothing but its digit to go by. With the scenes' ink some are illegible (a classifier then stays at 93 %).
CROP_INK = Ink((70, 130), 0.8, 0.15)


@dataclass(frozen=True)
class Digit:
    """One digit in a scene.

    Attributes:
        label: the class, 0 to 9.
        glyph: index in ``load_digits``.
        x, y: left and upper edge of the mask in the scene, in pixels.
        mask: bool, (height, width); its outer rows and columns all hold ink.
    """

    label: int
    glyph: int
    x: int
    y: int
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """An image (uint8 BGR, (height, width, 3)), the name of its photograph, and its digits."""

    image: np.ndarray
    photograph: str
    digits: tuple


def paint_scene(rng, sources, size, count):
    """A photograph with handwritten digits that do not overlap.

    Args:
        rng: ``numpy.random.Generator``.
        sources: :class:`~mobileode_mm.data.originals.Sources` of the split.
        size: (height, width) of the image, at least 200 each.
        count: number of digits.

    Returns:
        Scene: with ``count`` digits, each 56 to 150 px long.
    """
    name, image = _background(rng, sources.photographs, size)
    glyphs = [_pick_glyph(rng, sources.glyphs, int(rng.integers(10))) for _ in range(count)]
    shortest, longest = SHORTEST + _SLACK, LONGEST - _SLACK
    placed = None
    while placed is None:
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        paints = [_write(rng, strokes, length)
                  for (_, _, strokes), length in zip(glyphs, lengths, strict=True)]
        placed = _place(rng, [paint.shape for paint in paints], size)
        # Too many large ones for this image: try smaller ones.
        longest = max(shortest, longest * 0.95)

    digits = [_add_digit(rng, image, label, glyph, opacity, x, y)
              for (label, glyph, _), opacity, (x, y) in zip(glyphs, paints, placed, strict=True)]
    return Scene(_to_uint8(image), name, tuple(digits))


def paint_crop(rng, sources, label, side):
    """One digit of class ``label`` that nearly fills a square of ``side`` pixels on a photograph.

    Returns:
        Scene: with one digit.
    """
    name, image = _background(rng, sources.photographs, (side, side))
    label, glyph, strokes = _pick_glyph(rng, sources.glyphs, label)
    paint = _write(rng, strokes, side * rng.uniform(0.65, 0.8))
    height, width = paint.shape
    x, y = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
    digit = _add_digit(rng, image, label, glyph, paint, x, y, CROP_INK)
    return Scene(_to_uint8(image), name, (digit,))


def _to_uint8(image):
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def _pick_glyph(rng, glyphs, label):
    index, image = glyphs[label][rng.integers(len(glyphs[label]))]
    return label, index, image


def _background(rng, photographs, size):
    """A crop of a random photograph at a random scale, turned over and recoloured; float32 of ``size``."""
    name, photograph = photographs[rng.integers(len(photographs))]
    height, width = size
    largest = min(photograph.shape[0] / height, photograph.shape[1] / width)
    scale = largest * rng.uniform(0.35, 1.0)
    crop_height, crop_width = int(height * scale), int(width * scale)
    top = int(rng.integers(photograph.shape[0] - crop_height + 1))
    left = int(rng.integers(photograph.shape[1] - crop_width + 1))
    crop = photograph[top:top + crop_height, left:left + crop_width]
    crop = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)
    crop = np.ascontiguousarray(crop[::rng.choice((-1, 1)), ::rng.choice((-1, 1))])

    # Few photographs have to stand for all the world's colours. Grey ones get a colour of their own here, so
    # that colour does not give a digit away. All of it is one affine map of the colours.
    saturation = rng.uniform(0.3, 1.3)
    gains = rng.uniform(0.7, 1.2, 3)
    colours = gains[:, None] * (saturation * np.eye(3)[rng.permutation(3)] + (1 - saturation) / 3)
    mean = (colours @ cv2.mean(crop)[:3]).mean()
    contrast = rng.uniform(0.6, 1.2)
    shift = np.full(3, mean * (1 - contrast) + rng.uniform(-35, 35))
    recoloured = cv2.transform(crop.astype(np.float32), np.column_stack([contrast * colours, shift]))
    return name, np.clip(recoloured, 0, 255)


def _write(rng, glyph, length):
    """Enlarge an 8x8 glyph: float32 opacity, 0 to 1, cut to its paint; its ink is ``length`` px long (±3)."""
    paper = np.pad(glyph, _PAD)
    side = paper.shape[0] * _CELL
    paper = cv2.resize(paper, (side, side), interpolation=cv2.INTER_CUBIC)
    angle, slant, stretch = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.15, 0.15), rng.uniform(0.85, 1.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = turn @ np.array([[stretch, slant], [0, 1]]) * 0.9
    middle = np.full(2, (side - 1) / 2)
    paper = cv2.warpAffine(paper, np.column_stack([shape, middle - shape @ middle]), (side, side))

    rows, columns = _extent(paper > INK * 255)
    scale = length / max(rows.stop - rows.start, columns.stop - columns.start)
    size = round(side * scale)
    opacity = cv2.resize(paper, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    # A firmer pen has a steeper edge; the line where the opacity is INK stays where it is. Paint fades out
    # beyond that line, or its straight cut would show the box.
    opacity = np.clip(INK + (opacity - INK) * rng.uniform(1.2, 2.5), 0, 1).astype(np.float32)
    return opacity[_extent(opacity > 0)]


def _extent(marked):
    """The smallest (rows, columns) that hold everything marked."""
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _add_digit(rng, image, label, glyph, opacity, x, y, ink=SCENE_INK):
    """Paint at (x, y) and say where the ink is."""
    _tint(rng, image, opacity, x, y, ink)
    rows, columns = _extent(opacity > INK)
    return Digit(label, glyph, x + columns.start, y + rows.start, opacity[rows, columns] > INK)


def _place(rng, shapes, size, tries=80):
    """Upper left corners for boxes of ``shapes`` that keep ``GAP`` px from each other, or None."""
    corners = {}
    # Large ones first: small ones still fit beside them.
    for i in sorted(range(len(shapes)), key=lambda i: -shapes[i][0] * shapes[i][1]):
        height, width = shapes[i]
        for _ in range(tries):
            x = int(rng.integers(GAP, size[1] - width - GAP + 1))
            y = int(rng.integers(GAP, size[0] - height - GAP + 1))
            if all(x + width + GAP <= u or u + shapes[j][1] + GAP <= x or
                   y + height + GAP <= v or v + shapes[j][0] + GAP <= y for j, (u, v) in corners.items()):
                corners[i] = (x, y)
                break
        else:
            return None
    return [corners[i] for i in range(len(shapes))]


def _tint(rng, image, opacity, x, y, ink):
    """Ink a digit into ``image`` in a colour that stands off from the ground under it."""
    height, width = opacity.shape
    ground = image[y:y + height, x:x + width]
    mean, spread = (channels.ravel() for channels in cv2.meanStdDev(ground))
    contrast = rng.uniform(*ink.contrast) + ink.per_spread * spread.mean()
    level = mean.mean()
    lighter = rng.random() < 0.5
    if lighter and level + contrast > 250 or not lighter and level - contrast < 5:
        lighter = level < 128
    hue = rng.uniform(-45, 45, 3)
    colour = mean + (contrast if lighter else -contrast) + hue - hue.mean()
    texture = rng.uniform(0, ink.texture)
    painted = np.clip(ground * np.float32(texture) + (colour - texture * mean).astype(np.float32), 0, 255)
    ground += (opacity * np.float32(rng.uniform(0.85, 1)))[..., None] * (painted - ground)
