"""Between files: evaluator against data set, train against val."""
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ...data.images import FEW, file_sizes
from ...data.verify.annotations import check_file
from ...data.verify.report import Finding
from ...errors import listed
from ..config import type_name
from .heads import evaluators
from .sources import Documents, Source, require


def check_evaluators(cfg: Config, split: str, sources: list[Source], documents: Documents) -> Iterator[Finding]:
    """Annotation files of evaluators against those of the data sets."""
    for key, evaluator in evaluators(cfg, split):
        ann_file = evaluator.get('ann_file')
        if ann_file and '://' not in ann_file:
            require(cfg, [ann_file], 'COCO 2017' if '2017' in ann_file else None)
            if ann_file.endswith('.json'):
                document = documents(ann_file)  # a broken one is reported
                if type_name(evaluator) == 'CocoMetric' and not any(_is_file(source, ann_file) for source in sources):
                    findings = list(check_file(ann_file, document))
                    yield from findings
                    if any(finding.severity == 'error' for finding in findings):
                        continue
        if type_name(evaluator) != 'CocoMetric':
            continue
        coco = [source for source in sources if source.kind == 'coco']
        if not ann_file:
            yield from _check_instances(key, coco)
        elif coco and len(coco) == len(sources) and '://' not in ann_file:
            yield from _compare_files(key, ann_file, coco, documents)
        metrics = evaluator.get('metric', 'bbox')
        if 'segm' in ([metrics] if isinstance(metrics, str) else metrics):
            for source in coco:
                yield from check_masks(source, f'{key}.metric is segm')


def check_masks(source: Source, why: str) -> Iterator[Finding]:
    """Annotations without the mask that someone wants."""
    lacking = [annotation for annotation in source.document.get('annotations') or ()
               if isinstance(annotation, dict) and not annotation.get('segmentation')]
    if lacking:
        yield Finding(f'{source.dataset.ann_file}: {len(lacking)} annotations have no "segmentation", and {why}',
                      'use annotations with masks, or train and evaluate boxes alone',
                      tuple(f'annotation {annotation.get("id")}' for annotation in lacking))


def check_same_classes(sources: list[Source]) -> Iterator[Finding]:
    """Data sets that are used with other classes, or in another order, than the first."""
    named = [(source, source.classes or source.folders) for source in sources]
    named = [(source, classes) for source, classes in named if classes]
    for source, classes in named[1:]:
        first, others = named[0]
        if classes == others:
            continue
        different = sorted(set(classes) ^ set(others))
        if source.folders and first.folders and source.classes is None and first.classes is None:
            yield Finding(f'{first.where} and {source.where} have different class folders, and labels follow the '
                          f'folders: only in one of them {listed(different)}')
        else:
            how = f'only in one of them {listed(different)}' if different else 'in another order'
            yield Finding(f'{first.where} ({first.split}) and {source.where} ({source.split}) are used with different '
                          f'classes: {how}', 'give all datasets one metainfo=dict(classes=(...))')


def check_label_offsets(sources: list[Source]) -> Iterator[Finding]:
    """Label maps of which mmseg takes one off in one data set and not in another."""
    maps = [source for source in sources if source.kind == 'masks']
    for source in maps[1:]:
        first, value = maps[0].dataset.reduce_zero_label, source.dataset.reduce_zero_label
        if value != first:
            yield Finding(f'{maps[0].where} ({maps[0].split}) has reduce_zero_label={first} and {source.where} '
                          f'({source.split}) has {value}: a label means another class in each',
                          'give all datasets the same reduce_zero_label')


def check_apart(sources: list[Source]) -> Iterator[Finding]:
    """Images that are in train and in another split: files, and copies of files where there are few."""
    paths: dict[str, dict[str, str]] = {}
    for source in sources:
        if source.lists_images:
            paths.setdefault(source.split, {}).update(
                (os.path.realpath(info['img_path']), info['img_path']) for info in source.infos)
    train = paths.pop('train', {})
    for split, others in paths.items():
        shared = [path for real, path in others.items() if real in train]
        if not shared and len(train) + len(others) <= FEW:
            shared = [f'{other} is {own}' for other, own in _copies(list(train), list(others))]
        if shared:
            yield Finding(f'{len(shared)} of the {len(others)} images of {split} are in train too, and make its '
                          'results too good', 'leave them out of one of the two', tuple(shared), 'warning')


def _is_file(source: Source, path: str) -> bool:
    """Whether a data set reads this annotation file."""
    return source.kind == 'coco' and os.path.realpath(source.dataset.ann_file) == os.path.realpath(path)


def _copies(train: list[str], others: list[str]) -> Iterator[tuple[str, str]]:
    """Files of ``others`` with the content of one of ``train``."""
    sizes = file_sizes(train + others)
    wanted = {sizes[path] for path in others if path in sizes}
    known = {_digest(path): path for path in train if sizes.get(path) in wanted}
    lengths = {sizes[path] for path in known.values()}
    for path in others:
        if sizes.get(path) in lengths and (own := known.get(_digest(path))):
            yield path, own


def _digest(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


def _check_instances(key: str, sources: list[Source]) -> Iterator[Finding]:
    for source in sources:
        pack = source.step('PackDetInputs')
        if pack is not None and 'instances' not in (pack.get('meta_keys') or ()):
            yield Finding(f'{key} has no ann_file, and the pipeline of {source.split}_dataloader hands it no boxes',
                          f'set {key}.ann_file to {source.dataset.ann_file}')


def _compare_files(key: str, ann_file: str, sources: list[Source], documents: Documents) -> Iterator[Finding]:
    own = [source.dataset.ann_file for source in sources]
    judged = documents(ann_file)
    if not (len(sources) == 1 and _is_file(sources[0], ann_file)):
        differences = list(_differences(judged, [source.document for source in sources]))
        if differences:
            yield Finding(f'{key} judges by {ann_file}, but {sources[0].split}_dataloader reads {listed(own)}, and the '
                          f'two do not agree', f'set {key}.ann_file to the file of the dataset', tuple(differences))
            return
    used = {info['img_id'] for source in sources for info in source.infos}
    unused = [image['file_name'] for image in judged['images'] if image['id'] not in used]
    if unused:
        yield Finding(f'{key} judges by all {len(judged["images"])} images of {ann_file}, of which '
                      f'{sources[0].split}_dataloader leaves out {len(unused)}: their objects count as missed',
                      'judge by a file of these images alone; set test_mode=True, which filters none',
                      tuple(unused), 'warning')


def _differences(judged: dict, read: list[dict]) -> Iterator[str]:
    """What an evaluator's file has otherwise than those that are read."""
    images = {image['id']: image['file_name'] for document in read for image in document['images']}
    others = {image['id']: image['file_name'] for image in judged['images']}
    for text, number in (('images are only in the dataset', len(images.keys() - others.keys())),
                         ('images are only in the file of the evaluator', len(others.keys() - images.keys())),
                         ('images have another file name under the same id',
                          sum(others.get(key, name) != name for key, name in images.items()))):
        if number:
            yield f'{number} {text}'
    names = [{category['id']: category['name'] for category in document['categories']} for document in (judged, *read)]
    if any(other != names[0] for other in names[1:]):
        yield f'classes: {listed(f"{number} {name}" for number, name in names[0].items())} in the file of the evaluator'
    boxes, other_boxes = (Counter((annotation['image_id'], annotation['category_id'], tuple(annotation['bbox']))
                                  for document in documents for annotation in document['annotations'])
                          for documents in (read, [judged]))
    if boxes != other_boxes:
        yield (f'{sum((boxes - other_boxes).values())} annotations of the dataset have another box, class or image in '
               'the file of the evaluator')
