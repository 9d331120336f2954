"""The tree photographs in parts: splits, sizes, boxes."""
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.tree_parts import make_tree_parts

SIZES = {'train/site_1': (1000, 600), 'test/site_2': (850, 1030), 'test/site_3': (400, 300)}
OBJECT = ('<object><name>Tree</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>'
          '</object>')


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """Trees of 40 px in the middle of each 100, in parts."""
    folder = tmp_path_factory.mktemp('parts')
    for name, (width, height) in SIZES.items():
        path = folder / 'trees' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
        boxes = [(x + 30, y + 30, x + 70, y + 70)
                 for x in range(0, width - 99, 100) for y in range(0, height - 99, 100)]
        path.with_suffix('.xml').write_text(
            f'<annotation><filename>{path.name}</filename><size><width>{width}</width><height>{height}</height>'
            f'<depth>3</depth></size>{"".join(OBJECT.format(*box) for box in boxes)}</annotation>')
    make_tree_parts(folder / 'trees', folder / 'out')
    return folder / 'out'


@pytest.mark.parametrize('split, sizes', [
    ('train', {(192, 192)}), ('val', {(200, 300)}), ('test', {(425, 343), (425, 344), (400, 300)})])
def test_sizes(split, sizes, parts):
    content = json.loads((parts / f'{split}.json').read_text())
    found = {(image['width'], image['height']) for image in content['images']}
    assert found == sizes
    for image in content['images']:
        with Image.open(parts / image['file_name']) as opened:
            assert opened.size == (image['width'], image['height'])


def test_each_tree_of_the_test_is_in_one_part(parts):
    content = json.loads((parts / 'test.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    sites = Counter(names[box['image_id']].split('/')[1][:6] for box in content['annotations'])
    assert sites == {'site_2': 80, 'site_3': 12}
    assert len(content['images']) == 2 * 3 + 1


def test_nothing_of_the_test_is_trained_on(parts):
    train = json.loads((parts / 'train.json').read_text())
    assert all('site_1_train' in image['file_name'] for image in train['images'])
    assert not (parts / 'strips').exists()
