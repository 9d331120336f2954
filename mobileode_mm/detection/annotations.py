"""COCO files in mmdet, read as the checks read them."""
from collections.abc import Iterator
from contextlib import contextmanager

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import coco_metric

from ..data.coco_file import read_coco


class FilledCOCO(COCO):
    """mmdet's index of an annotation file, of which what is absent and can be derived is filled in.

    Args:
        annotation_file: The file; :func:`mobileode_mm.data.coco_file.complete` says what is filled in.
    """

    def __init__(self, annotation_file: str | None = None):
        super().__init__()
        if annotation_file is not None:
            self.dataset = read_coco(annotation_file)[0]
            self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs  # mmdet's names for them


@contextmanager
def filled_annotations() -> Iterator[None]:
    """Let mmdet's CocoDataset, its subclasses that share its reader, and CocoMetric read files so.

    Configs name these classes as ever.
    """
    before = CocoDataset.COCOAPI, coco_metric.COCO
    CocoDataset.COCOAPI = coco_metric.COCO = FilledCOCO
    try:
        yield
    finally:
        CocoDataset.COCOAPI, coco_metric.COCO = before
