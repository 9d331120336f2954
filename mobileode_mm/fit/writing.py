"""What training reads: annotation files and lists in the formats of the toolboxes, and the config over them."""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..data.formats import Image
from ..data.formats.masks import read_labels
from ..errors import InputError
from ..inference.writers import printable
from .models import backbone
from .plan import METRICS, Plan

_BASES = dict(detection='ssdlite', segmentation='deeplabv3', classification='classifier')
#: From this IoU to 0.5 an anchor is neither an object nor none. SSD's own rule, none under 0.5, makes hard negatives of
#: anchors that almost are objects, three of them to each object. On the tree photographs AP50 on validation was then
#: 0.206 after 20 epochs, for 0.514 (V1, seed 0).
AMBIGUOUS = 0.3
#: Channels of the six maps where the first has stride 8.
_FINE_WIDTHS = (128, 256, 256, 256, 128, 128)
#: Batch that the learning rate of ``mmodeconf/schedules/own.py`` is for.
_BASE_BATCH, _BASE_LR = 16, 2e-3
#: Validations without a gain after which a training ends, of the 12 to 14 that there are: the first ones of a training
#: from scratch find nothing. MMEngine's default counts less than 0.1 as no gain, where 1 is all.
_PATIENCE, _GAIN = 7, dict(detection=0.001, segmentation=0.1, classification=0.1)


def write_data(plan: Plan, images: Sequence[Image], split: str, folder: Path) -> Path:
    """Write the annotations of a split into ``folder``; the file."""
    return dict(detection=_coco, segmentation=_pairs, classification=_labels)[plan.task](plan, images, split, folder)


def _coco(plan: Plan, images: Sequence[Image], split: str, folder: Path) -> Path:
    entries, annotations = [], []
    for number, image in enumerate(images, 1):
        height, width = image.size
        entries.append(dict(id=number, file_name=str(image.path.resolve()), height=height, width=width))
        for (x1, y1, x2, y2), label, crowd in zip(image.boxes.tolist(), image.labels.tolist(), image.crowd.tolist()):
            annotations.append(dict(
                id=len(annotations) + 1, image_id=number, category_id=label + 1, iscrowd=int(crowd),
                bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1)))
    categories = [dict(id=number, name=name) for number, name in enumerate(plan.classes, 1)]
    path = folder / f'{split}.json'
    path.write_text(json.dumps(dict(images=entries, annotations=annotations, categories=categories)))
    return path


def _labels(plan: Plan, images: Sequence[Image], split: str, folder: Path) -> Path:
    return _list(folder / f'{split}.txt', [f'{image.path.resolve()} {image.labels[0]}\n' for image in images])


def _pairs(plan: Plan, images: Sequence[Image], split: str, folder: Path) -> Path:
    """Label maps of 0 and 255 are written anew, as 0 and 1; others are read where they are."""
    lines = []
    for image in images:
        mask = image.mask
        if image.two_valued:
            mask = folder / 'masks' / f'{len(lines)}_{image.path.stem}.png'
            mask.parent.mkdir(exist_ok=True)
            Pillow.fromarray(read_labels(image).astype(np.uint8)).save(mask)
        lines.append(f'{image.path.resolve()}\t{mask.resolve()}\n')
    return _list(folder / f'{split}.txt', lines)


def _list(path: Path, lines: list[str]) -> Path:
    text = ''.join(lines)
    try:
        path.write_text(text, 'utf-8')
    except UnicodeEncodeError as error:
        line = lines[text[:error.start].count('\n')].strip()
        raise InputError(f'{printable(line)}: a name that is not in UTF-8, in which the toolboxes read lists. '
                         'Rename it; convmv -f latin1 -t utf8 -r --notest FOLDER renames all') from error
    return path


def config_text(plan: Plan, name: str, files: dict[str, Path], backends: Sequence[str], seed: int) -> str:
    """The config: over mmodeconf, a line for what this data set needs.

    Args:
        plan: The choices.
        name: Of the data, for the headline.
        files: Annotations by split: ``'train'``, ``'val'`` and ``'test'``.
        backends: MMEngine's visualisation backends beside the local one.
        seed: Of the training.
    """
    detector = plan.task == 'detection'
    data = 'own_tiles' if plan.tiling else f'own_{plan.task}'
    bases = (f'models.{_BASES[plan.task]}', f'datasets.{data}', 'schedules.own', 'runtime.default',
             f'runtime.{plan.task}')
    lines = [
        f'"""{name}: {plan.task}, {len(plan.classes)} classes, as `mobileode fit` chose it. Yours to change."""',
        'from mmengine.config import read_base', '', 'with read_base():',
        *(f'    from mmodeconf.{base} import *' for base in bases), '',
        f'folder = {str(files["train"].resolve().parent) + "/"!r}',
        f'metainfo = {_text(dict(classes=plan.classes))}',
        f'model.update(backbone={_text(backbone(plan.model, plan.task, plan.side, plan.fine))})']
    lines += dict(detection=_detector_lines, segmentation=_segmentor_lines, classification=_classifier_lines)[
        plan.task](plan)
    for split, file in files.items():
        lines.append(f'{split}_dataloader.dataset.update(metainfo=metainfo, ann_file=folder + {file.name!r})')
        if detector and split != 'train':
            lines.append(f'{split}_evaluator.update(ann_file=folder + {file.name!r})')
    rate = _BASE_LR * plan.batch / _BASE_BATCH
    lines += [
        f'train_dataloader.batch_size = {plan.batch}',
        f'optim_wrapper.optimizer.lr = {rate:g}',
        f'train_cfg.update(max_epochs={plan.epochs}, val_interval={plan.val_interval})',
        f'param_scheduler[1].update(T_max={plan.epochs}, end={plan.epochs})',
        f'default_hooks.checkpoint.update(interval={plan.val_interval}, save_best={METRICS[plan.task]!r})',
        'custom_hooks.append(dict(',
        f"    type='EarlyStoppingHook', monitor={METRICS[plan.task]!r}, rule='greater', "
        f'patience={_PATIENCE}, min_delta={_GAIN[plan.task]}))']
    if seed:
        lines.append(f'randomness.seed = {seed}')
    if backends:
        lines.append('visualizer.vis_backends = '
                     + _text([dict(type=name) for name in ('LocalVisBackend', *backends)]))
    return '\n'.join(lines) + '\n'


def _detector_lines(plan: Plan) -> list[str]:
    sizes = [f'{key}={_text(plan.anchors[key])}' for key in ('strides', 'ratios', 'min_sizes', 'max_sizes')]
    lines = [f'model.bbox_head.num_classes = {len(plan.classes)}',
             f'model.train_cfg.assigner.neg_iou_thr = {AMBIGUOUS}',
             *([f'model.neck.out_channels = {_FINE_WIDTHS}'] if plan.fine else []),
             'model.bbox_head.anchor_generator.update(', f'    {", ".join(sizes[:2])},', f'    {", ".join(sizes[2:])})']
    if plan.tiling:
        lines.append(f'model.test_cfg.tile = dict(size={plan.side}, overlap={plan.tiling.overlap})')
        lines += [f'{split}_dataloader.dataset.pipeline[1].scale_factor = {float(plan.tiling.scale)}'
                  for split in ('val', 'test') if plan.tiling.scale != 1]
        if plan.mosaic:
            lines.append('train_dataloader.dataset.pipeline = mosaic_pipeline')
        if plan.side != 320:
            tile, mosaic = (plan.side, plan.side), (2 * plan.side, 2 * plan.side)
            steps = [('img_scale', tile), ('scale', mosaic)] if plan.mosaic else [('scale', tile)]
            lines += [f'train_dataloader.dataset.pipeline[{number}].{key} = {size}' for number, (key, size) in
                      enumerate([*steps, ('crop_size', tile), ('size', tile)], start=2)]
    elif plan.side != 320:
        lines += [f'{split}_dataloader.dataset.pipeline[{step}].scale = {plan.side, plan.side}'
                  for split, step in (('train', 3), ('val', 1), ('test', 1))]
    return lines


def _classifier_lines(plan: Plan) -> list[str]:
    lines = [f'model.head.update(num_classes={len(plan.classes)})']
    if plan.side != 224:
        lines.append(f'train_dataloader.dataset.pipeline[1].scale = {plan.side}')
        for split in ('val', 'test'):
            lines += [f'{split}_dataloader.dataset.pipeline[1].scale = {round(plan.side * 8 / 7)}',
                      f'{split}_dataloader.dataset.pipeline[2].crop_size = {plan.side}']
    return lines


def _segmentor_lines(plan: Plan) -> list[str]:
    lines = ['model.decode_head.update(dilations=(1, 6, 12, 18))',
             *(f'model.{head}.num_classes = {len(plan.classes)}' for head in ('decode_head', 'auxiliary_head'))]
    if plan.side != 320:
        lines += [f'train_dataloader.dataset.pipeline[2].scale = (2048, {plan.side})',
                  f'train_dataloader.dataset.pipeline[3].crop_size = {plan.side, plan.side}',
                  f'train_dataloader.dataset.pipeline[6].size = {plan.side, plan.side}',
                  *(f'{split}_dataloader.dataset.pipeline[1].scale = (2048, {plan.side})' for split in ('val', 'test'))]
    return lines


def _text(value: object) -> str:
    """As configs are written: ``dict(type='BN')``."""
    if isinstance(value, dict):
        return f'dict({", ".join(f"{key}={_text(item)}" for key, item in value.items())})'
    if isinstance(value, (tuple, list)):
        inside = ', '.join(map(_text, value))
        return f'[{inside}]' if isinstance(value, list) else f'({inside},)' if len(value) == 1 else f'({inside})'
    return f'{value:g}' if isinstance(value, float) else repr(value)
