"""Gaussian noise on images, in mmseg's registry; the toolbox's own is for volumes of floats."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GaussianNoise(BaseTransform):
    """Add Gaussian noise of a random strength to an image of 0 to 255.

    Required and modified key: ``img``, (H, W, C), uint8.

    Args:
        prob (float): Share of the images that get noise. Defaults to 0.5.
        max_std (float): Its standard deviation is drawn evenly from 0 to this, in grey levels. Defaults to 10.

    Raises:
        ValueError: ``prob`` is no share, or ``max_std`` negative.
    """

    def __init__(self, prob: float = 0.5, max_std: float = 10.0):
        if not 0 <= prob <= 1 or max_std < 0:
            raise ValueError(f'prob={prob}, max_std={max_std}: a share from 0 to 1 and 0 or more are wanted')
        self.prob, self.max_std = prob, max_std

    def transform(self, results: dict) -> dict:
        """Noise on ``results['img']``, rounded and clipped."""
        if np.random.rand() < self.prob:
            image = results['img']
            noise = np.random.normal(0, np.random.uniform(0, self.max_std), image.shape)
            results['img'] = (image + noise).round().clip(0, 255).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, max_std={self.max_std})'
