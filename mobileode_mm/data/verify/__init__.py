"""Is a data set on disk whole and usable? One module for each layout."""

from .ade20k import verify_ade20k
from .cifar10 import verify_cifar10
from .class_lists import verify_imagenet_r, verify_tiny_imagenet
from .coco import verify_coco
from .coco_format import verify_busi, verify_faces
from .files import Reading
from .folders import verify_folder
from .imagenet import verify_imagenet
from .report import Report
from .voc import verify_voc

#: By the name of the command: each takes ``root``, ``subset`` and ``reading``.
CHECKS = {'coco': verify_coco, 'voc': verify_voc, 'imagenet': verify_imagenet, 'ade20k': verify_ade20k,
          'busi': verify_busi, 'faces': verify_faces, 'imagenet-r': verify_imagenet_r,
          'tiny-imagenet': verify_tiny_imagenet}

__all__ = [
    'CHECKS', 'Reading', 'Report', 'verify_ade20k', 'verify_busi', 'verify_cifar10', 'verify_coco', 'verify_faces',
    'verify_folder', 'verify_imagenet', 'verify_imagenet_r', 'verify_tiny_imagenet', 'verify_voc'
]
