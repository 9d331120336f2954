"""The mini data's handwriting and photographs, read from installed packages, split for train and val."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError

# Both sides hold coloured views and animals, grey textures and microscopy, so that val is new but not alien.
# The packages carry more images: those with printed text or a clock face could be read as digits and are
# left out, and so is the second view of the motorcycle.
PHOTOGRAPHS = {
    'train': ('astronaut', 'brick', 'camera', 'cell', 'china', 'coffee', 'coins', 'grass',
              'hubble_deep_field', 'motorcycle', 'retina', 'rocket'),
    'val': ('chelsea', 'flower', 'gravel', 'immunohistochemistry', 'moon'),
}

# The last fifth of every class, in the order of the data set, is val's.
VAL_SHARE = 0.2


@dataclass(frozen=True)
class Sources:
    """What one split is made from.

    Attributes:
        glyphs: per class, the pairs (index in ``load_digits``, uint8 image of 8x8, ink 255).
        photographs: the pairs (name, uint8 BGR image).
    """

    glyphs: tuple
    photographs: tuple

    def glyph_indices(self):
        return sorted(index for glyphs in self.glyphs for index, _ in glyphs)

    def photograph_names(self):
        return sorted(name for name, _ in self.photographs)


def load_sources():
    """Read glyphs and photographs; nothing is downloaded.

    Returns:
        dict: ``train`` and ``val``, each :class:`Sources`; they share neither a glyph nor a photograph.

    Raises:
        InputError: scikit-learn or scikit-image is missing or does not carry what is needed.
    """
    try:
        import skimage.data
        import sklearn.datasets
    except ImportError as error:
        raise InputError(f'the mini data is made from images that scikit-learn and scikit-image carry, and '
                         f'{error.name} cannot be imported; install them with\n'
                         f'  pip install scikit-learn "scikit-image>=0.22"') from error

    digits = sklearn.datasets.load_digits()
    images = np.round(digits.images / digits.images.max(axis=(1, 2), keepdims=True) * 255).astype(np.uint8)
    photographs = _read_photographs(skimage.data, sklearn.datasets)

    sources = {}
    for split, names in PHOTOGRAPHS.items():
        glyphs = []
        for label in range(10):
            indices = np.flatnonzero(digits.target == label)
            first_val = round(len(indices) * (1 - VAL_SHARE))
            chosen = indices[:first_val] if split == 'train' else indices[first_val:]
            glyphs.append(tuple((int(i), images[i]) for i in chosen))
        sources[split] = Sources(tuple(glyphs), tuple((name, photographs[name]) for name in names))
    return sources


def _read_photographs(skimage_data, sklearn_datasets):
    views = sklearn_datasets.load_sample_images()
    images = {Path(path).stem: view for path, view in zip(views.filenames, views.images, strict=True)}
    for name in PHOTOGRAPHS['train'] + PHOTOGRAPHS['val']:
        if name in images:
            continue
        try:
            images[name] = (skimage_data.stereo_motorcycle()[0] if name == 'motorcycle'
                            else getattr(skimage_data, name)())
        except (AttributeError, ImportError, OSError) as error:
            raise InputError(f'the installed scikit-image does not carry its photograph "{name}"; install '
                             f'one that does with\n  pip install "scikit-image>=0.22"') from error

    # Half the size and without the black surround: a crop shall show the eye's ground, not its frame.
    images['retina'] = cv2.resize(images['retina'][210:1200, 210:1200], (495, 495),
                                  interpolation=cv2.INTER_AREA)
    return {name: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
            for name, image in images.items()}
