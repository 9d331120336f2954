"""Names in Pascal VOC's XML files, and data sets that are not looked at."""
import json

import pytest

from mobileode_mm.cli import main

OBJECT = ('<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>'
          '<ymax>{}</ymax></bndbox></object>')


@pytest.fixture
def voc(place):
    """Write the detection data as XML, with names made of ours, and give what makes a config read it."""

    def write(name=str, difficult=0, size=64):
        for split in ('train', 'val'):
            document = json.loads((place / f'data/coco/annotations/{split}.json').read_text())
            names = {category['id']: name(category['name']) for category in document['categories']}
            folder = place / f'data/coco/{split}_xml'
            folder.mkdir()
            for image in document['images']:
                objects = ''.join(
                    OBJECT.format(names[entry['category_id']], difficult, x, y, x + width, y + height)
                    for entry in document['annotations'] if entry['image_id'] == image['id']
                    for x, y, width, height in [entry['bbox']])
                (folder / image['file_name'].replace('.jpg', '.xml')).write_text(
                    f'<annotation><size><width>{size}</width><height>{size}</height></size>{objects}</annotation>')
            (place / f'data/coco/{split}.txt').write_text(
                '\n'.join(image['file_name'].removesuffix('.jpg') for image in document['images']))
        return use_xml

    return write


def use_xml(cfg, **settings):
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        old = loader.dataset.get('dataset') or loader.dataset
        loader.dataset = dict(
            type='XMLDataset', data_root='data/coco', ann_file=f'{split}.txt', ann_subdir=f'{split}_xml',
            img_subdir=split, data_prefix=dict(sub_data_root=''), metainfo=dict(classes=('red', 'green', 'blue')),
            test_mode=split == 'val', pipeline=old.pipeline, **settings)
    cfg.val_evaluator = dict(type='VOCMetric')


def test_whole_files(voc, findings):
    assert findings('detection', voc(), model=True) == ([], [])


def test_names_that_the_config_does_not_have(voc, findings):
    problems, _ = findings('detection', voc(str.title))
    assert len(problems) == 2 and 'data/coco/train_xml has other classes than the config: no object has the name of ' \
        'one of red, green, blue; their names are Red, Green, Blue' in problems[0]


def test_some_names_that_the_config_does_not_have(voc, findings):
    problems, notes = findings('detection', voc(lambda name: 'pink' if name == 'red' else name))
    assert not problems
    assert any('annotations of 1 classes that the config does not name are left out:\n    pink: 6' in note
               for note in notes)
    assert any('1 classes have no object; they cannot be learnt:\n    red' in note for note in notes)


def test_what_mmdet_does_not_read_may_lack_anything(voc, place, findings):
    change = voc()
    path = place / 'data/coco/train_xml/train_0.xml'
    path.write_text(path.read_text().replace('</annotation>', '<object><name>road</name></object></annotation>'))
    problems, notes = findings('detection', change)
    assert not problems and any('road: 1 annotations' in note for note in notes)
    path.write_text(path.read_text().replace('<difficult>0<', '<difficult><'))
    assert "has difficult ''" in findings('detection', change)[0][0]


def test_difficult_objects_alone(voc, findings):
    problems, notes = findings('detection', voc(difficult=1))
    assert len(problems) == 1 and 'val.txt: no image has an object but difficult ones' in problems[0]
    assert any('3 classes have no object that is not difficult' in note for note in notes)


@pytest.mark.parametrize('change, word', [
    (lambda text: text[:-20], 'unclosed token'), (lambda text: text.replace('<name>red', '<name>'), 'has no name'),
    (lambda text: text.replace('<xmin>', '<xmin>a'), 'an object red has no number bndbox/xmin'),
    (lambda text: text.replace('<width>', '<width>x'), 'its size has no whole number')])
def test_files_that_cannot_be_read(change, word, voc, place, findings):
    use = voc()
    path = place / 'data/coco/train_xml/train_0.xml'
    path.write_text(change(path.read_text()))
    (place / 'data/coco/train_xml/train_1.xml').unlink()
    problems, _ = findings('detection', use)
    assert len(problems) == 1 and '2 of 16 XML files in data/coco/train_xml cannot be read' in problems[0]
    assert word in problems[0] and 'train_1.xml: No such file' in problems[0]


def test_images_of_another_size(voc, findings):
    problems, _ = findings('detection', voc(size=60))
    assert 'is 64x64, the annotation file says 60x60' in problems[0]


UNKNOWN = '''
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS


@DATASETS.register_module(force=True)
class Unknown(BaseDetDataset):
    pass
'''


def test_what_was_not_looked_at_is_said(place, capsys, monkeypatch):
    (place / 'unknown.py').write_text(UNKNOWN)
    monkeypatch.syspath_prepend(place)
    (place / 'mine.py').write_text(
        "_base_ = 'detection.py'\ncustom_imports = dict(imports=['unknown'])\n"
        "val_dataloader = dict(dataset=dict(type='Unknown'))\ntest_dataloader = val_dataloader\n")
    assert main(['verify', 'mine.py']) == 0
    out = capsys.readouterr().out
    assert 'its images and labels are not checked, as Unknown is not known here' in out
    assert out.splitlines()[-1] == 'no problem found in what was checked'
    (place / 'mine.py').open('a').write("train_dataloader = dict(dataset=dict(dataset=dict(type='Unknown')))\n")
    assert main(['verify', 'mine.py']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'not checked'
