"""Inside an annotation file, and what is read right although a converter left it out."""
import json

import pytest

from mobileode_mm.data.coco_file import complete, read_coco

WHOLE = 'data/coco/annotations/train.json'


def boxes(document):
    return document['annotations']


def each(change):
    """Apply a change to every annotation."""
    def change_all(document):
        for annotation in document['annotations']:
            change(annotation)
    return change_all


def test_whole_data_have_no_findings(findings, edit):
    for split in ('train', 'val'):
        edit(split, each(lambda annotation: annotation.update(id=annotation['id'] + 1)))
    assert findings('detection') == ([], [])


@pytest.mark.parametrize('change, words', [
    (lambda d: boxes(d)[3].update(category_id=99), ['1 annotations have a category_id that the file does not list',
                                                    'annotation 3: category_id 99']),
    (each(lambda a: a.update(category_id=a['category_id'] - 1)), ['have a category_id that the file does not list']),
    (lambda d: boxes(d)[3].update(image_id=99), ['image_id that the file does not list', 'annotation 3: image_id 99']),
    (lambda d: boxes(d)[3].update(image_id='3'), ["annotation 3: image_id '3'"]),
    (lambda d: boxes(d)[3].update(id=2), ['1 ids of "annotations" occur more than once', 'annotations id 2']),
    (lambda d: d['images'][3].update(id=2), ['1 ids of "images" occur more than once']),
    (lambda d: d['images'][3].update(file_name='train_2.jpg'), ['1 file names occur under more than one id']),
    (lambda d: d['categories'].append(dict(id=9, name='red')), ['1 class names occur under more than one id']),
    (lambda d: boxes(d)[3].update(bbox=[1, 2, 3]), ['1 of 16 entries of "annotations"', 'annotations[3] has "bbox"']),
    (lambda d: boxes(d)[3].update(bbox=[1, 2, 'a', 4]), ['annotations[3] has "bbox"']),
    (lambda d: boxes(d)[3].update(bbox=[1, 2, float('nan'), 4]), ['annotations[3] has "bbox"']),
    (lambda d: boxes(d)[3].update(bbox=None), ['annotations[3] has "bbox" None']),
    (lambda d: boxes(d)[3].pop('bbox'), ['annotations[3] lacks "bbox"']),
    (lambda d: boxes(d)[3].update(area='big'), ['annotations[3] has "bbox"', '"area" \'big\'']),
    (lambda d: boxes(d)[3].update(iscrowd='yes'), ['annotations[3] has "iscrowd" \'yes\'']),
    (lambda d: d['images'][3].update(width='64'), ['images[3] has "width" \'64\'']),
    (each(lambda a: a.update(bbox=[20, 20, 60, 60])), ['when they are read as [left, top, right, bottom]']),
    (each(lambda a: a.update(bbox=[.1, .1, .5, .5])), ["look like shares of the image's size"]),
    (each(lambda a: a.update(bbox=[70, 70, 9, 9])), ['16 of 16 boxes lie outside their image']),
    (each(lambda a: a.update(bbox=[7, 7, -5, -5])), ['16 of 16 boxes have no size']),
    (lambda d: d.pop('annotations'), ['it has no list "annotations"']),
])
def test_what_cannot_be_read(change, words, findings, edit):
    edit('train', change)
    text = '\n'.join(findings('detection')[0])
    assert WHOLE in text
    for word in words:
        assert word in text


@pytest.mark.parametrize('change, word', [
    (lambda d: boxes(d)[3].update(bbox=[5, 5, 0, 9]), '1 of 16 boxes have no size; training drops them'),
    (lambda d: boxes(d)[3].update(bbox=[70, 5, 9, 9]), '1 of 16 boxes lie outside their image'),
    (lambda d: boxes(d)[3].update(bbox=[50, 5, 30, 9]), "1 of 16 boxes cross their image's edge"),
    (lambda d: boxes(d)[3].pop('iscrowd'), '"iscrowd" of 1 annotations is absent'),
    (lambda d: boxes(d)[3].pop('area'), '"area" of 1 annotations is absent'),
    (lambda d: d['categories'].append(dict(id=9, name='grey')) or boxes(d)[3].update(category_id=9),
     'annotations of 1 classes that the config does not name are left out'),
    (each(lambda a: a.update(category_id=1)), '2 classes have no annotation; they cannot be learnt'),
])
def test_what_is_doubtful(change, word, findings, edit):
    edit('train', change)
    problems, notes = findings('detection')
    assert not problems
    assert any(word in note and WHOLE in note for note in notes)


def test_nothing_to_measure_by(place, findings, edit):
    """But where predictions are only to be written, an empty file is one of images to predict."""
    edit('val', lambda document: document.update(annotations=[]))
    problems, _ = findings('detection')
    assert len(problems) == 1 and 'holds no annotation: there is nothing to measure by' in problems[0]
    assert not findings('detection', lambda cfg: cfg.val_evaluator.update(format_only=True, outfile_prefix='out'))[0]


def test_nothing_but_crowds(findings, edit):
    for split in ('train', 'val'):
        edit(split, each(lambda a: a.update(iscrowd=1)))
    problems, notes = findings('detection')
    assert len(problems) == 1 and 'val.json holds no annotation but of crowds (iscrowd=1): there is' in problems[0]
    assert any('3 classes have no annotation that is no crowd; they cannot be learnt' in note for note in notes)


def test_what_converters_leave_out_is_filled_in(tmp_path):
    path = tmp_path / 'a.json'
    document = dict(images=[], categories=[], annotations=[
        dict(id=0, bbox=[1, 2, 3, 4]), dict(id=7, bbox=[1, 2, 3, 4], area=0, iscrowd='1'),
        dict(id=8, bbox=[1, 2, 3, 4], area=5.5, iscrowd=True), dict(id=9, bbox=[1, 2, 0, 4], area=0, iscrowd=0), 'odd'])
    path.write_bytes(b'\xef\xbb\xbf' + json.dumps(document).encode())  # a byte-order mark
    found, filled = read_coco(path)
    assert found['annotations'] == [
        dict(id=10, bbox=[1, 2, 3, 4], area=12, iscrowd=0), dict(id=7, bbox=[1, 2, 3, 4], area=12, iscrowd=1),
        dict(id=8, bbox=[1, 2, 3, 4], area=5.5, iscrowd=1), dict(id=9, bbox=[1, 2, 0, 4], area=0, iscrowd=0), 'odd']
    assert filled == {'"iscrowd"': [0, 7, 8], '"area"': [0, 7], '"id" 0': [10]}


def test_annotations_whose_ids_are_texts_are_numbered():
    """pycocotools keeps ids as numbers: "a1" ends the evaluation, and "0" is "no match"."""
    document = dict(annotations=[dict(id=name, bbox=[1, 2, 3, 4], area=12, iscrowd=0) for name in ('0', 'a1', 5)])
    assert complete(document) == {'"id" as a whole number': [1, 2, 3]}
    assert [annotation['id'] for annotation in document['annotations']] == [1, 2, 3]


def test_mmdet_reads_what_is_checked(edit):
    """And reads as ever outside of a run."""
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    from mobileode_mm.detection.annotations import filled_annotations
    path = edit('train', each(lambda annotation: [annotation.pop(key) for key in ('area', 'iscrowd')]))
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    arguments = dict(ann_file=str(path), data_prefix=dict(img=''), metainfo=dict(classes=('red', 'green', 'blue')),
                     pipeline=[], test_mode=True)
    with filled_annotations():
        dataset = CocoDataset(**arguments)
        index = CocoMetric(ann_file=str(path))._coco_api
    assert len(dataset) == 16
    assert all(len(dataset.get_data_info(number)['instances']) == 1 for number in range(16))
    assert all(index.anns[number]['iscrowd'] == 0 and index.anns[number]['area'] > 0 for number in index.anns)
    assert 0 not in index.anns and len(index.anns) == 16
    with pytest.raises(ValueError):
        CocoDataset(**arguments)


def test_a_hit_on_annotation_0_counts():
    """pycocotools takes the id 0 for "no match"."""
    from mobileode_mm.detection.annotations import FilledCOCO  # isort: skip
    from pycocotools.cocoeval import COCOeval
    document = dict(images=[dict(id=0, width=64, height=64, file_name='a')], categories=[dict(id=1, name='a')],
                    annotations=[dict(id=0, image_id=0, category_id=1, bbox=[5, 5, 20, 20])])
    truth = FilledCOCO()
    complete(document)
    truth.dataset = document
    truth.createIndex()
    found = truth.loadRes([dict(image_id=0, category_id=1, bbox=[5, 5, 20, 20], score=.9)])
    evaluation = COCOeval(truth, found, 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
