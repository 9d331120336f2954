"""Is a data set on disk whole and usable? One module for each layout."""

from .cifar10 import verify_cifar10
from .coco import verify_coco
from .files import Reading
from .folders import verify_folder
from .imagenet import verify_imagenet
from .report import Report
from .voc import verify_voc

__all__ = ['Reading', 'Report', 'verify_cifar10', 'verify_coco', 'verify_folder', 'verify_imagenet',
           'verify_voc']
