"""The tree photographs as the suite ``trees`` reads them; ``python -m benchmarks.tree_parts`` makes them.

Training: the first four fifths of one photograph, in the tiles that ``mobileode fit`` cuts. Validation: the rest of it.
Test: one photograph from elsewhere in the same park, and two of other sites. Validation and test are cut into parts of
about 400 px: COCO's AP counts a hundred boxes an image, and one photograph has 279 trees.
"""
import argparse
import json
import os
import shutil
from pathlib import Path

from mobileode_mm.data.finished import finished_folder
from mobileode_mm.data.formats import Image, recognise
from mobileode_mm.data.trees import make_tree_data
from mobileode_mm.errors import InputError
from mobileode_mm.fit import splits, tiles
from mobileode_mm.fit.plan import Plan
from mobileode_mm.fit.writing import write_data
from mobileode_mm.runs.config import DATA_VARIABLE

from . import ROOT

NAME = 'tree_parts'
#: Side of the training's tiles and of the other parts, in pixels.
TILE, PART = 192, 400


def make_tree_parts(trees: Path, out: Path) -> None:
    """Make ``train.json``, ``val.json`` and ``test.json`` in COCO's format, and the images they name.

    Args:
        trees: What ``mobileode tree-data`` made.
        out: The folder to make.
    """
    found = recognise(trees)
    plan = Plan('detection', found.classes, 'mobileode_v1', TILE)
    with finished_folder(out) as folder:
        for name in ('strips', 'images'):
            (folder / name).mkdir(parents=True)
        train, val, _ = splits.part(found.splits['train'], folder / 'strips')
        parts = dict(
            train=[tile for tile in tiles.cut(train, TILE, TILE // 2, folder / 'images') if len(tile.boxes)],
            val=_parts(val, folder / 'images'), test=_parts(found.splits['test'], folder / 'images'))
        for split, images in parts.items():
            path = write_data(plan, images, split, folder)
            content = json.loads(path.read_text())
            for image in content['images']:
                image['file_name'] = f'images/{Path(image["file_name"]).name}'
            path.write_text(json.dumps(content))
        shutil.rmtree(folder / 'strips')


def _parts(images: list[Image], folder: Path) -> list[Image]:
    """Each image in a grid of parts of about :data:`PART` pixels."""
    made = []
    for image in images:
        pixels = tiles.read(image.path)
        columns, rows = (max(1, round(side / PART)) for side in pixels.size)
        xs, ys = ([round(number * side / count) for number in range(count + 1)]
                  for side, count in zip(pixels.size, (columns, rows)))
        made += [tiles.crop(image, pixels, (left, top, right, bottom), folder / f'{image.path.stem}_{left}_{top}.png')
                 for top, bottom in zip(ys, ys[1:]) for left, right in zip(xs, xs[1:])]
    return made


def ensure_tree_parts() -> None:
    """The parts where the config will look for them, unless something is there.

    Raises:
        InputError: The photographs cannot be had.
    """
    root = os.environ.get(DATA_VARIABLE)
    places = [Path(root).expanduser()] if root else [Path('data'), ROOT / 'data']
    if any((place / NAME).exists() for place in places):
        return
    trees = next((place / 'trees' for place in places if (place / 'trees').exists()), places[-1] / 'trees')
    out = places[-1] / NAME
    print(f'making tree photographs in parts in {out}', flush=True)
    make_tree_data(trees)
    make_tree_parts(trees, out)


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        ensure_tree_parts()
    except InputError as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
