"""Labels and heads: names of classes, their order and number, and what evaluators count."""
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.config import Config
from torch import nn

from ...data.verify.report import Finding
from ...errors import listed
from ..config import most_boxes, type_name
from .sources import Source

#: mmseg reads label maps as 8 bits, and ignores 255.
MOST_MASK_CLASSES = 255
#: Of pycocotools' first figure, whatever the evaluator's ``proposal_nums`` are.
COUNTED_BOXES = 100
_TOPK = ('Accuracy', 'CorruptedAccuracy')


def check_number(source: Source, num_classes: dict[str, int]) -> Iterator[Finding]:
    """Heads of another number of classes than the data set.

    Args:
        source: The data set.
        num_classes: Of every head of the network, by the head's name.
    """
    classes = source.classes or source.folders or None
    for head, number in num_classes.items():
        if classes is not None and number != len(classes):
            yield Finding(f'{head}.num_classes is {number}, but {source.where} is used with {len(classes)} classes: '
                          f'{listed(classes)}')


def check_class_weights(model: nn.Module) -> Iterator[Finding]:
    """Losses with another number of class weights than their head has classes."""
    for head_name, head in model.named_modules():
        number = getattr(head, 'num_classes', None)
        if not isinstance(number, int):
            continue
        for name, loss in _losses(head):
            weights = getattr(loss, 'class_weight', None)
            allowed = {number}
            if 'loss_cls' in getattr(loss, 'loss_name', name):
                allowed.add(number + 1)  # in losses over all classes at once, "none of them" has a weight too
            if getattr(loss, 'use_sigmoid', False):
                # One weight is for all; of a map with one channel there is no other.
                allowed = {1} if getattr(head, 'out_channels', None) == 1 else {1, *allowed}
            if isinstance(weights, (list, tuple, np.ndarray)) and len(weights) not in allowed:
                key = f'model.{head_name}.{name.replace("loss_module", "loss")}.class_weight'
                yield Finding(f'{key} has {len(weights)} weights, but {head_name}.num_classes is {number}',
                              f'set {key}=None, or a weight for each class in their order')


def check_one_class(model: nn.Module) -> Iterator[Finding]:
    """Heads with one score that a softmax makes 1, whatever it is: their loss is 0 and nothing is learnt."""
    for head_name, head in model.named_modules():
        # Of mmseg's and mmpretrain's; those of detectors have a score more, of no object.
        number = getattr(head, 'num_classes', None) if hasattr(head, 'loss_module') else getattr(
            head, 'out_channels', None)
        if number != 1:
            continue
        for name, loss in _losses(head):
            if type(loss).__name__ == 'CrossEntropyLoss' and not getattr(loss, 'use_sigmoid', True):
                yield Finding(f'{head_name} has one class, of which the softmax of {name} makes 1 always: the loss is '
                              '0, and nothing is learnt',
                              'name the background as a class too (num_classes=2), or set use_sigmoid=True in the loss')


def check_preprocessor(model: nn.Module, num_classes: dict[str, int]) -> Iterator[Finding]:
    """A preprocessor that makes one-hot labels (for Mixup, CutMix) of another number of classes than the head has."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    given = getattr(preprocessor, 'num_classes', None)
    head = num_classes.get('head')
    if getattr(preprocessor, 'to_onehot', False) and None not in (given, head) and given != head:
        yield Finding(f'data_preprocessor.num_classes is {given}, but head.num_classes is {head}, and the labels that '
                      'are mixed have as many numbers', f'set num_classes={head} in data_preprocessor')


def check_categories(source: Source) -> Iterator[Finding]:
    """Classes of the config against those of a COCO file: all there, in one order, each with annotations."""
    where, document, wanted = source.dataset.ann_file, source.document, source.classes or []
    categories = [category for category in document['categories'] if isinstance(category, dict)]
    names = {category.get('id'): category.get('name') for category in categories}
    present = [category.get('name') for category in categories]
    missing = [name for name in wanted if name not in present]
    if missing:
        yield Finding(
            f'{where} has other classes than the config: {listed(missing)} of the config '
            f'({len(wanted)} classes) are not among the {len(present)} of the file: {listed(present)}. '
            'Set metainfo=dict(classes=(...)) in the datasets, and num_classes in the head')
        return
    in_order = [name for name in present if name in wanted]
    if in_order != wanted and len(in_order) == len(wanted):
        yield Finding(
            f'{where} lists the classes in another order than the config, and the labels follow the '
            f'file. Set metainfo=dict(classes=...) in the order of the file: {listed(in_order, most=100)}')
    annotations = [annotation for annotation in document.get('annotations') or () if isinstance(annotation, dict)]
    # mmdet neither trains on crowds nor counts them.
    objects = Counter(names.get(annotation.get('category_id')) for annotation in annotations
                      if not annotation.get('iscrowd'))
    yield from check_counts(source, Counter(names.get(annotation.get('category_id')) for annotation in annotations),
                            objects, 'annotation that is no crowd' if len(annotations) > sum(objects.values())
                            else 'annotation')


def check_counts(source: Source, counts: Counter, objects: Counter, what: str) -> Iterator[Finding]:
    """Classes of annotations that the config does not name, and classes of the config without an annotation.

    Args:
        source: The data set.
        counts: Annotations of each class.
        objects: Those of them that are learnt from and judged by.
        what: What these are.
    """
    wanted = source.classes or []
    others = [f'{name}: {number} annotations' for name, number in counts.items()
              if name is not None and name not in wanted]
    if others:
        yield Finding(f'{source.where}: annotations of {len(others)} classes that the config does not name are left '
                      'out', 'name them in metainfo=dict(classes=...), with num_classes of the head, if they are to '
                      'be learnt', tuple(others), 'warning')
    yield from _without(source, [name for name in wanted if not objects[name]], what)


def check_folders(source: Source) -> Iterator[Finding]:
    """Names of the config against class folders, whose sorted order the labels follow."""
    folders, classes = source.folders, source.classes
    if not folders or classes is None:
        return
    where = source.dataset.img_prefix
    if len(classes) != len(folders):
        yield Finding(f'{where} has {len(folders)} class folders ({listed(folders)}), the config {len(classes)} '
                      f'classes ({listed(classes)})')
        return
    places = {name.casefold(): number for number, name in enumerate(folders)}
    elsewhere = [f'{name} is used for the folder {folders[number]}' for number, name in enumerate(classes)
                 if places.get(name.casefold(), number) != number]
    if elsewhere:
        yield Finding(f"{where}: labels follow the sorted names of the folders, and the config's classes are in "
                      'another order', f'set metainfo=dict(classes=({", ".join(map(repr, folders))})), or no classes',
                      tuple(elsewhere))
    elif type(source.dataset).METAINFO.get('classes') is None and not places.keys() & {
            name.casefold() for name in classes}:
        yield Finding(f"{where}: no folder has the name of one of the config's classes; labels follow the sorted names "
                      'of the folders', 'see whether each name is of its folder',
                      tuple(f'{folder}: {name}' for folder, name in zip(folders, classes)), 'warning')


def check_list(source: Source) -> Iterator[Finding]:
    """Lines of a list of images and labels that cannot be read."""
    if source.kind != 'classes' or not source.dataset.ann_file or not source.dataset.with_label:
        return
    with open(source.dataset.ann_file, encoding='utf-8', errors='replace') as file:
        lines = file.read().splitlines()
    wrong = []
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal():
            wrong.append(f'line {number}: {line!r}')
    if wrong:
        yield Finding(f'{source.where}: {len(wrong)} of {len(lines)} lines are not of the form FILE LABEL',
                      'write the file, a space and the number of the class, counted from 0', tuple(wrong))


def check_labels(source: Source, num_classes: dict[str, int]) -> Iterator[Finding]:
    """Labels of images that are no class, and classes without an image."""
    if source.kind != 'classes' or not source.dataset.with_label:
        return
    classes = source.classes or source.folders or list(range(min(num_classes.values(), default=0)))
    if not classes:
        return
    counts = Counter(info['gt_label'] for info in source.infos)
    strange = {label for label in counts if label >= len(classes)}
    if strange:
        hint = ' The labels seem to count from 1' if max(strange) == len(classes) and 0 not in counts else ''
        yield Finding(f'{source.where}: {sum(counts[label] for label in strange)} images have a label beyond the '
                      f'{len(classes)} classes of the config, which count from 0 to {len(classes) - 1}.{hint}',
                      'count the labels from 0', tuple(
                          f'{info["img_path"]}: {info["gt_label"]}' for info in source.infos
                          if info['gt_label'] in strange))
        return
    yield from _without(source, [str(name) for number, name in enumerate(classes) if not counts[number]], 'image')


def check_trained(source: Source, trained: Sequence[str] | None) -> Iterator[Finding]:
    """Classes of a data set against those, in their order, that a checkpoint was trained for."""
    classes = source.classes or source.folders
    if not trained or not classes or len(trained) != len(classes) or list(trained) == classes:
        return
    if set(trained) == set(classes):
        yield Finding(f'{source.where} is used with the classes {listed(classes)}, but the checkpoint was trained for '
                      f'the order {listed(trained)}: each would be taken for another',
                      'set metainfo=dict(classes=(...)) in the order of the checkpoint')
    else:
        different = [f'{old}: {new}' for old, new in zip(trained, classes) if old != new]
        yield Finding(f'{source.where} has other names for {len(different)} classes than the checkpoint',
                      'see whether they mean the same', tuple(different), 'warning')


def check_mask_classes(source: Source) -> Iterator[Finding]:
    """More classes than the masks that mmseg reads can hold."""
    number = len(source.classes or ())
    if source.kind == 'masks' and number > MOST_MASK_CLASSES and source.step('LoadAnnotations'):
        yield Finding(f'{source.where} is used with {number} classes, but LoadAnnotations reads masks as 8 bits: '
                      f'labels from 256 on come out as others, and {source.dataset.ignore_index} is ignored',
                      f'train with at most {MOST_MASK_CLASSES} classes, or read the masks with a transform of your own')


def check_topk(cfg: Config, split: str, num_classes: dict[str, int]) -> Iterator[Finding]:
    """Accuracies among more classes than the head has."""
    fewest = min(num_classes.values(), default=None)
    for key, evaluator in evaluators(cfg, split):
        topk = evaluator.get('topk', ())
        topk = topk if isinstance(topk, (list, tuple)) else (topk, )
        beyond = [k for k in topk if isinstance(k, int) and fewest is not None and k > fewest]
        if type_name(evaluator) in _TOPK and beyond:
            left = tuple(k for k in topk if k not in beyond) or (1, )
            yield Finding(f'{key}.topk is {tuple(topk)}, but the head has {fewest} classes', f'set {key}.topk={left}')


def check_crowded(cfg: Config, source: Source) -> Iterator[Finding]:
    """Images with more objects than the detector gives boxes, or of a class than mmdet's AP counts."""
    key, given = most_boxes(cfg)
    objects = [annotation for annotation in source.document['annotations'] if not annotation.get('iscrowd')]
    of_image = Counter(annotation['image_id'] for annotation in objects)
    of_class = Counter((annotation['image_id'], annotation['category_id']) for annotation in objects)
    names = {image['id']: image['file_name'] for image in source.document['images']}
    for most, what, counts, limit, fix in (
            (given, 'objects', of_image.items(), f'the detector gives {given} boxes of an image', f'raise {key}'),
            (COUNTED_BOXES, 'objects of a class', ((image, count) for (image, _), count in of_class.items()),
             f"mmdet's coco/bbox_mAP counts the {COUNTED_BOXES} surest boxes of a class in an image",
             'read coco/bbox_mAP_50 and coco/bbox_mAP_75, which count 1000')):
        beyond = tuple(f'{names[image]}: {count}' for image, count in counts if most is not None and count > most)
        if beyond:
            yield Finding(f'{source.where} has more than {most} {what} in an image, and {limit}', fix, beyond,
                          'warning')


def evaluators(cfg: Config, split: str) -> list[tuple[str, dict]]:
    """Key and config of each evaluator of a split."""
    found = cfg.get(f'{split}_evaluator') or []
    if isinstance(found, dict) and 'metrics' in found:  # mmengine's Evaluator, written out
        found = found['metrics']
    many = isinstance(found, (list, tuple))
    return [(f'{split}_evaluator' + (f'.{number}' if many else ''), evaluator)
            for number, evaluator in enumerate(found if many else [found]) if isinstance(evaluator, dict)]


def _without(source: Source, names: list[str], what: str) -> Iterator[Finding]:
    if names:
        consequence = 'they cannot be learnt' if source.split == 'train' else 'they are not judged'
        yield Finding(f'{source.where}: {len(names)} classes have no {what}; {consequence}', '', tuple(names),
                      'warning')


def _losses(head: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Losses of a head, and those of a list of losses, by their keys in the config."""
    for name, loss in head.named_children():
        if name.startswith('loss'):
            yield name, loss
            yield from ((f'{name}.{number}', one) for number, one in loss.named_children())
