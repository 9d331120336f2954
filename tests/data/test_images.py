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
