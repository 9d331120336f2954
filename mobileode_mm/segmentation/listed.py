"""Images and label maps by a list, wherever they are and whatever they are called."""
import os.path as osp

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class ListedSegDataset(BaseSegDataset):
    """Images and label maps that ``ann_file`` lists, a pair a line, parted by a tab: ``image.jpg<TAB>mask.png``.

    ``BaseSegDataset`` wants all images, and all label maps, to have one ending, and their names to be equal before it.

    Args:
        ann_file (str): The list, UTF-8. Paths in it are below ``data_root``, or absolute.
        **kwargs: As for ``mmseg.BaseSegDataset``; ``metainfo`` with the classes among them.
    """

    def __init__(self, ann_file: str, **kwargs) -> None:
        super().__init__(ann_file=ann_file, img_suffix='', seg_map_suffix='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """A dict for each line of the list."""
        root = self.data_root or ''
        infos = []
        with open(self.ann_file, encoding='utf-8') as file:
            for line in filter(None, (line.rstrip('\n') for line in file)):
                image, mask = line.split('\t')
                infos.append(dict(img_path=osp.join(root, image), seg_map_path=osp.join(root, mask),
                                  label_map=self.label_map, reduce_zero_label=self.reduce_zero_label, seg_fields=[]))
        return infos
