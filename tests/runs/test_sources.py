"""The images that are checked are those that the dataset uses."""
import json

import pytest
from mmdet.datasets import CocoDataset

from mobileode_mm.runs.consistency.sources import coco_data_list


@pytest.fixture
def annotations(tmp_path):
    """Images with and without objects, too small, with crowds only, with other classes only."""
    images = [dict(id=number, file_name=f'{number}.jpg', width=64, height=20 if number == 3 else 64)
              for number in range(8, 0, -1)]
    kinds = {1: [(1, 0)], 2: [(2, 1)], 3: [(1, 0)], 4: [], 5: [(3, 0)], 6: [(1, 0), (3, 0)], 7: [(2, 0)], 8: []}
    anns = [dict(image_id=image, category_id=category, iscrowd=crowd, bbox=[1, 1, 9, 9], area=81)
            for image, objects in kinds.items() for category, crowd in objects]
    # An object that lies outside its image is dropped, the image stays.
    anns.append(dict(image_id=8, category_id=1, iscrowd=0, bbox=[100, 100, 9, 9], area=81))
    for number, ann in enumerate(anns):
        ann['id'] = number
    document = dict(images=images, annotations=anns,
                    categories=[dict(id=1, name='a'), dict(id=2, name='b'), dict(id=3, name='other')])
    (tmp_path / 'train.json').write_text(json.dumps(document))
    return tmp_path, document


@pytest.mark.parametrize('options', [
    {}, dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)), dict(filter_cfg=dict(filter_empty_gt=True)),
    dict(filter_cfg=dict(min_size=32)), dict(filter_cfg=dict(filter_empty_gt=True, min_size=32), test_mode=True)])
def test_same_images_as_the_dataset(options, annotations):
    root, document = annotations
    arguments = dict(data_root=str(root), ann_file='train.json', data_prefix=dict(img='images/'),
                     metainfo=dict(classes=('a', 'b')), pipeline=[], **options)
    expected = [info['img_path'] for info in CocoDataset(**arguments, serialize_data=False).data_list]
    found = coco_data_list(CocoDataset(**arguments, lazy_init=True), document)
    assert [info['img_path'] for info in found] == expected
    assert expected[0].startswith(f'{root}/images/')
