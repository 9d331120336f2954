"""Names for files that are written for images of any folders."""
import numpy as np
import pytest
from PIL import Image

from mobileode_mm.data.label_maps import label_png
from mobileode_mm.data.names import unique_names


@pytest.mark.parametrize('paths, names', [
    (['/d/a.jpg', '/d/b.jpg'], ['a.jpg', 'b.jpg']),
    (['/d/cam0/1.jpg', '/d/cam1/1.jpg', '/d/x.jpg'], ['cam0_1.jpg', 'cam1_1.jpg', 'x.jpg']),
    (['/d/a/1.jpg', '/d/A/1.JPG'], ['a_1.jpg', 'A_1_2.JPG']),  # one file where capitals do not count
    (['/d/c/1.jpg', '/d/e/1.jpg', '/d/c_1.jpg'], ['c_1.jpg', 'e_1.jpg', 'c_1_2.jpg']),
    (['c/1.jpg', '/x/1.jpg'], None), (['/d/a.jpg', '/d/a.jpg'], None), ([], [])])
def test_each_image_has_a_name_of_its_own(paths, names):
    found = unique_names(paths)
    assert found.keys() == set(paths)
    assert len({name.casefold() for name in found.values()}) == len(found)
    assert all('/' not in name for name in found.values())
    if names is not None:
        assert list(found.values()) == names


@pytest.mark.parametrize('dtype, mode', [(np.uint8, 'P'), (np.uint16, 'I;16')])
def test_label_maps_hold_their_labels(dtype, mode, tmp_path):
    labels = np.arange(12, dtype=dtype).reshape(3, 4) * (20 if dtype == np.uint8 else 70)
    (tmp_path / 'a.png').write_bytes(label_png(labels))
    with Image.open(tmp_path / 'a.png') as image:
        assert image.mode == mode and (np.asarray(image) == labels).all()
