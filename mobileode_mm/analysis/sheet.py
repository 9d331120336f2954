"""A contact sheet of predictions beside ground truth.

The images are brought to their size on the sheet before anything is drawn. The toolboxes' visualizers draw
on the image as stored and scale their text with the object (6 pt for a small box), unreadable on a sheet.
"""
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image, ImageDraw

from ..errors import InputError
from .drawing import LINE, NEUTRAL, class_colour, draw_label, font, label_width, with_boxes, with_classes
from .undisturbed import undisturbed

SIDE = 400  # longest side of an image on the sheet, px
COLUMNS = 4
GAP = 12
HEADER = 40  # height of the header, px
RIGHT, WRONG = (178, 223, 178), (245, 183, 177)


class _Panel(NamedTuple):
    header: str
    image: Image.Image
    labels: list[tuple[str, tuple]]  # text and colour of each label below the image


def prediction_sheet(model: torch.nn.Module, dataset, out: str | Path, num_images: int = 8,
                     score_thr: float = 0.3) -> Path:
    """Draw what a model predicts beside what is true, for images evenly spaced over a data set.

    Boxes with class and score for detection, coloured classes for segmentation, label and score for
    classification. The model's mode and the state of the random generators are the same afterwards.

    Args:
        model: A model of mmdet, mmseg or mmpretrain, wrapped for several processes or not.
        dataset: Its data set with the pipeline for testing.
        out: PNG to write.
        num_images: Images on the sheet; all of a smaller data set.
        score_thr: Boxes below this score are not drawn.

    Returns:
        The path of the PNG.

    Raises:
        InputError: The data set is empty, or the predictions are of another kind.
    """
    if not len(dataset):
        raise InputError('No sheet of predictions: the data set holds no image.')
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int).tolist()
    rows = [[]]
    with undisturbed(model) as bare_model:
        for index in indices:
            sample = bare_model.test_step(pseudo_collate([dataset[index]]))[0].cpu()
            panels = _panels(sample, dataset.get_data_info(index), dataset.metainfo, score_thr)
            if len(rows[-1]) + len(panels) > COLUMNS:
                rows.append([])
            rows[-1] += panels
    out = Path(out)
    _compose(rows).save(out, format='PNG')
    return out


def _panels(sample, info: dict, metainfo: dict, score_thr: float) -> list[_Panel]:
    # The data set's own image: the network's input is resized and normalised.
    pixels = info['img'] if 'img' in info else mmcv.imread(info['img_path'], channel_order='rgb')
    image = Image.fromarray(pixels).convert('RGB')
    scale = SIDE / max(image.size)
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    classes = metainfo.get('classes')
    name = classes.__getitem__ if classes else str  # an annotation file of numbers alone names none
    if 'pred_instances' in sample:
        # The data set's boxes and not the sample's, which a pipeline may have resized with the image.
        # Regions that the evaluation ignores are left out.
        true = [(instance['bbox'], name(instance['bbox_label']), class_colour(instance['bbox_label']))
                for instance in info.get('instances', []) if not instance.get('ignore_flag', 0)]
        found = sample.pred_instances
        found = found[found.scores >= score_thr]
        found = found[found.scores.argsort()]  # the surest on top
        predicted = [
            (box, f'{name(label)} {score:.2f}', class_colour(label)) for box, label, score in
            zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)]
        return [_Panel('ground truth', with_boxes(small, true, scale), []),
                _Panel('prediction', with_boxes(small, predicted, scale),
                       [] if predicted else [(f'no score of {score_thr:g} or more', NEUTRAL)])]
    if 'pred_sem_seg' in sample:
        true = sample.gt_sem_seg.data if 'gt_sem_seg' in sample else torch.full((1, 1, 1), len(classes))
        return [_Panel('ground truth', *with_classes(small, true, metainfo)),
                _Panel('prediction', *with_classes(small, sample.pred_sem_seg.data, metainfo))]
    if 'pred_label' in sample:
        true = sample.gt_label.tolist() if 'gt_label' in sample else []
        predicted = sample.pred_label.tolist()
        scores = [f' {sample.pred_score[label]:.2f}' if 'pred_score' in sample else '' for label in predicted]
        colour = (RIGHT if true == predicted else WRONG) if true else NEUTRAL
        found = [name(label) + score for label, score in zip(predicted, scores, strict=True)]
        return [_Panel('ground truth, prediction', small, [
            (', '.join(map(name, true)) or 'unknown', NEUTRAL), (', '.join(found), colour)])]
    raise InputError(f'No sheet of predictions: a {type(sample).__name__} with the fields {sample.keys()} is '
                     'no detection, segmentation or classification.')


def _place_labels(labels: list[tuple]) -> list[tuple[int, int]]:
    """Corner of each label, in lines of the width of an image."""
    corners, x, y = [], 0, 0
    for text, _ in labels:
        if x and x + label_width(text) > SIDE:
            x, y = 0, y + LINE
        corners.append((x, y))
        x += label_width(text) + 6
    return corners


def _compose(rows: list[list[_Panel]]) -> Image.Image:
    image_heights = [max(panel.image.height for panel in row) for row in rows]
    label_heights = [max(max((y + LINE for _, y in _place_labels(panel.labels)), default=0) for panel in row)
                     for row in rows]
    top = HEADER
    sheet = Image.new('RGB', (
        GAP + len(rows[0]) * (SIDE + GAP),
        top + sum(image_heights) + sum(label_heights) + len(rows) * 2 * GAP), 'white')
    draw = ImageDraw.Draw(sheet)
    for column, panel in enumerate(rows[0]):
        draw.text((GAP + column * (SIDE + GAP), HEADER // 2), panel.header, fill='black',
                  font=font('DejaVuSans-Bold.ttf', 20), anchor='lm')
    for row, image_height, label_height in zip(rows, image_heights, label_heights, strict=True):
        for column, panel in enumerate(row):
            left = GAP + column * (SIDE + GAP)
            sheet.paste(panel.image, (left, top))
            for (x, y), (text, colour) in zip(_place_labels(panel.labels), panel.labels, strict=True):
                draw_label(draw, left + x, top + panel.image.height + 6 + y, text, colour)
        top += image_height + label_height + 2 * GAP
    return sheet
