import os

import pytest

from mobileode_mm.data import images
from mobileode_mm.data.images import check_images, find_faulty
from mobileode_mm.errors import InputError


def test_every_beginning_of_the_order_is_spread_evenly():
    seen = []
    paths = [str(number) for number in range(1000)]
    assert find_faulty(paths, seen.append, seconds=-1) == {}
    assert seen == []

    def read(path):
        seen.append(int(path))

    find_faulty(paths, read)
    assert sorted(seen) == list(range(1000))
    # The first 64 leave no gap longer than three times the mean one.
    first = sorted(seen[:64])
    assert max(b - a for a, b in zip([0, *first], [*first, 1000])) <= 3 * 1000 / 64


def test_many_are_sampled_but_all_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'FEW', 100)
    monkeypatch.setattr(images, 'SAMPLE_SECONDS', -1)
    paths = [str(tmp_path / f'{number}.jpg') for number in range(200)]
    for path in paths:
        open(path, 'wb').write(b'x')
    check_images(paths, 'images')  # no time to read one
    with pytest.raises(InputError, match='1 of 201 images do not exist: .*/absent.jpg'):
        check_images([*paths, str(tmp_path / 'absent.jpg')], 'images')
    monkeypatch.setattr(images, 'SAMPLE_SECONDS', 60)
    with pytest.raises(InputError, match='some images cannot be used: .*/0.jpg .is broken or no.*and 195 more'):
        check_images(paths, 'images')


def test_other_storage_is_passed_over():
    check_images(['s3://bucket/image.jpg'], 'images')
    check_images([], 'images')


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    for name in ('real/red/deep', 'real/blue', 'set/train'):
        (tmp_path / name).mkdir(parents=True)
    for name in ('red/1.png', 'red/deep/2.png', 'blue/3.png'):
        (tmp_path / 'real' / name).touch()
    for link, target in (('set/train/red', 'real/red'), ('set/train/blue', 'real/blue'), ('set/val', 'set/train'),
                         ('real/red/back', 'real'), ('real/blue/root', '.'), ('real/blue/top', 'set')):
        (tmp_path / link).symlink_to(tmp_path / target)
    found = sorted(os.path.relpath(os.path.join(place, name), tmp_path / 'set')
                   for place, _, names in images.walk(tmp_path / 'set') for name in names)
    split = ['blue/3.png', 'red/1.png', 'red/deep/2.png']
    assert found == [f'{name}/{path}' for name in ('train', 'val') for path in split]
