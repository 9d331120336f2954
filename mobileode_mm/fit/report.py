"""The report of a training on one's own data: one HTML file that needs no network."""
import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Pillow
from PIL import ImageDraw

from ..analysis.drawing import LINE, class_colour, draw_label, label_width, with_boxes, with_classes
from ..data.formats import Image
from ..data.formats.masks import read_labels
from .judging import Judgement
from .plan import Choice
from .tiles import read

_STYLE = ('body{font:16px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}'
          'table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;'
          'text-align:left;vertical-align:top}img{max-width:100%}pre{background:#f4f4f4;padding:1em;overflow:auto}'
          '.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(20em,1fr));gap:1em}'
          'figure{margin:0}figcaption{font-size:.85em;color:#555}.warning{color:#a00}')
_SIDE = 480
#: From this number of boxes on an image is drawn larger, with thin lines and without labels, which would hide it.
_CROWDED = 15
#: From this number on a confusion matrix is drawn without its figures.
_MANY = 12


def write_report(path: Path, title: str, choices: Sequence[Choice], warnings: Sequence[str], sheet: Path, curves: Path,
                 split: str, images: Sequence[Image], classes: Sequence[str], judged: Judgement,
                 commands: Sequence[str]) -> None:
    """Write the report.

    Args:
        path: The file.
        title: Headline.
        choices: What was decided.
        warnings: What is doubtful about the data.
        sheet: PNG of labelled images.
        curves: PNG of losses and metrics over the training.
        split: Whose images were judged.
        images: These images.
        classes: Their names.
        judged: What the network does on them.
        commands: What to do next.
    """
    low, middle, high = judged.quartiles
    figures = ', '.join(f'{name} {_number(value)}' for name, value in judged.metrics.items() if value == value)
    parts = [
        f'<h1>{escape(title)}</h1>',
        f'<p><b>{escape(figures)}</b> on the {len(images)} images of the {escape(split)} split; '
        f'{middle:.0f} ms an image (quartiles {low:.0f} to {high:.0f}), from its pixels to the prediction.</p>']
    if judged.threshold:
        parts.append(f'<p>Boxes of a score of {judged.threshold:.2f} or more are right and complete at once as often '
                     f'as can be (the largest F1): <code>--score-thr {judged.threshold:.2f}</code>.</p>')
    parts += ['<h2>Next</h2>', f'<pre>{escape(chr(10).join(commands))}</pre>']
    if warnings:
        parts += ['<h2>Doubtful in the data</h2>', '<ul>',
                  *(f'<li class="warning">{escape(line)}</li>' for line in warnings), '</ul>']
    parts += ['<h2>Chosen</h2>', _table(('what', 'how', 'why'), choices),
              '<h2>Training</h2>', _picture(curves.read_bytes()) if curves.is_file() else '<p>no curves</p>',
              '<h2>By class</h2>', _by_class(judged)]
    if judged.curves:
        parts += ['<h2>Precision and recall</h2>', _drawn(_recall_figure(judged))]
    parts += ['<h2>Confusion</h2>', _drawn(_confusion_figure(judged)),
              '<h2>The images with the most faults</h2>']
    parts.append(_worst(images, classes, judged) if judged.worst else '<p>no image has a fault</p>')
    parts += ['<h2>Labels</h2>', _picture(sheet.read_bytes())]
    path.write_text(f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
                    f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
                    + '\n'.join(parts) + '\n</body></html>\n', encoding='utf-8')


def write_figures(path: Path, choices: Sequence[Choice], warnings: Sequence[str], split: str, images: int,
                  judged: Judgement, commands: Sequence[str]) -> None:
    """Write the figures of the report as JSON, for programs; what does not exist, as the AP of an absent size, is null.

    Args:
        images: Number of images that were judged.

    The others are as for :func:`write_report`.
    """
    def known(figures: dict) -> dict:
        return {name: None if value != value else value for name, value in figures.items()}

    path.write_text(json.dumps(dict(
        split=split, images=images, metrics=known(judged.metrics),
        by_class={name: known(figures) for name, figures in judged.by_class.items()},
        confusion=dict(names=judged.names, counts=judged.confusion.tolist()), score_threshold=judged.threshold,
        milliseconds_an_image=dict(zip(('lower_quartile', 'median', 'upper_quartile'), judged.quartiles)),
        choices=[choice._asdict() for choice in choices], warnings=list(warnings), next_commands=list(commands)),
        indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def label_sheet(images: Sequence[Image], classes: Sequence[str], path: Path, most: int = 12) -> None:
    """Draw labelled images, spread evenly over ``images``, onto one PNG, under the classes in their colours."""
    chosen = [images[number] for number in
              np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)]
    panels = [_with_labels(image, classes) for image in chosen]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    sheet = Pillow.new('RGB', (columns * (_SIDE + 8), LINE + 8 + rows * (_SIDE + 8)), 'white')
    draw, left = ImageDraw.Draw(sheet), 0
    for label, name in enumerate(classes):
        draw_label(draw, left, 4, name, class_colour(label))
        left += label_width(name) + 6
    for number, panel in enumerate(panels):
        panel.thumbnail((_SIDE, _SIDE))
        sheet.paste(panel, (number % columns * (_SIDE + 8), LINE + 8 + number // columns * (_SIDE + 8)))
    sheet.save(path)


def _small(image: Image) -> tuple[Pillow.Image, float]:
    pixels = read(image.path)
    scale = _SIDE * (2 if _is_crowded(image) else 1) / max(pixels.size)
    return pixels.resize([max(1, round(side * scale)) for side in pixels.size], Pillow.Resampling.LANCZOS), scale


def _with_labels(image: Image, classes: Sequence[str]) -> Pillow.Image:
    small, scale = _small(image)
    if image.mask:
        import torch
        labels = torch.from_numpy(read_labels(image))
        return with_classes(small, labels[None], dict(classes=classes))[0]
    if len(image.boxes):
        crowded = _is_crowded(image)
        return with_boxes(small, [(box, '' if crowded else classes[label], class_colour(label))
                                  for box, label in zip(image.boxes.tolist(), image.labels.tolist())], scale,
                          2 if crowded else 3)
    text = classes[image.labels[0]] if len(image.labels) else 'no box'
    return with_boxes(small, [((0, 0, 0, 0), text, class_colour(int(image.labels[0]) if len(image.labels) else 0))], 1)


def _is_crowded(image: Image) -> bool:
    return len(image.boxes) >= _CROWDED


def _worst(images: Sequence[Image], classes: Sequence[str], judged: Judgement) -> str:
    figures = []
    for number, words in judged.worst:
        image, found = images[number], judged.predictions[number]
        true = _with_labels(image, classes)
        small, scale = _small(image)
        if hasattr(found, 'bboxes'):
            sure = found.scores >= judged.threshold
            crowded = _is_crowded(image)
            predicted = with_boxes(small, [
                (box, '' if crowded else f'{classes[label]} {score:.2f}', class_colour(int(label)))
                for box, label, score in zip(found.bboxes[sure].tolist(), found.labels[sure],
                                             found.scores[sure])][::-1], scale, 2 if crowded else 3)
        elif image.mask:
            import torch
            predicted = with_classes(small, torch.from_numpy(found.labels.astype(int))[None], dict(classes=classes))[0]
        else:
            predicted = None
        pictures = ''.join(_picture(_jpeg(picture)) for picture in (true, predicted) if picture is not None)
        figures.append(f'<figure>{pictures}<figcaption>{escape(image.path.name)}: {escape(words)}'
                       f'{"; above the labels, below the prediction" if predicted is not None else ""}'
                       '</figcaption></figure>')
    return f'<div class="grid">{"".join(figures)}</div>'


def _by_class(judged: Judgement) -> str:
    columns = list(next(iter(judged.by_class.values())))
    return _table(('class', *columns), [(name, *(_number(row[column]) for column in columns))
                                        for name, row in judged.by_class.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells, tag):
        return '<tr>' + ''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells) + '</tr>'

    return '<table>' + line(head, 'th') + ''.join(line(row, 'td') for row in rows) + '</table>'


def _number(value: float) -> str:
    return '–' if value != value else f'{value:.3f}' if isinstance(value, float) else f'{value:,}'


def _recall_figure(judged: Judgement) -> Figure:
    figure = Figure(figsize=(6, 4.5), layout='constrained')
    axes = figure.subplots()
    for name, (recall, precision) in judged.curves.items():
        axes.plot(recall, precision, label=_literal(name))
    axes.set(xlabel='recall', ylabel='precision at IoU 0.5', xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(color='#e4e4e4')
    if len(judged.curves) <= _MANY:
        axes.legend(frameon=False)
    return figure


def _confusion_figure(judged: Judgement) -> Figure:
    counts, names = judged.confusion, [_literal(name) for name in judged.names]
    side = min(10., 2.5 + 0.5 * len(names))
    figure = Figure(figsize=(side, side), layout='constrained')
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel='predicted', ylabel='true')
    axes.set_xticklabels(names, rotation=60, ha='right')
    axes.set_yticklabels(names)
    if len(names) <= _MANY:
        for row, column in np.ndindex(counts.shape):
            axes.text(column, row, f'{counts[row, column]:,}', ha='center', va='center', fontsize=8,
                      color='white' if shares[row, column] > 0.6 else 'black')
    return figure


def _literal(name: str) -> str:
    """A name for matplotlib, which takes what stands between two dollars for mathematics."""
    return name.replace('$', r'\$')


def _drawn(figure: Figure) -> str:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=100)
    return _picture(buffer.getvalue())


def _jpeg(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format='JPEG', quality=85)
    return buffer.getvalue()


def _picture(content: bytes) -> str:
    kind = 'png' if content.startswith(b'\x89PNG') else 'jpeg'
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
