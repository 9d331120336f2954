"""Checks of the data that a config names, before anything is built on them."""
import os
import re
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..data.images import check_images, find_faulty, read_image
from ..data.json_file import read_json
from ..data.places import SOURCES
from ..data.verify.cifar10 import md5_of
from ..errors import InputError, listed
from .config import DATA_VARIABLE, checkout_root, leaf_datasets, short_path, type_name

#: How long a file that broke during the run is looked for where its error does not name it.
SEARCH_SECONDS = 60


#: What the data are whose root has such a folder in its path, as this project's configs name them.
_SOURCE_BY_FOLDER = {'VOC2012': 'Pascal VOC 2012', 'ADEChallengeData2016': 'ADE20K', 'busi': 'BUSI', 'faces': 'faces',
                     'imagenet-r': 'ImageNet-R', 'tiny-imagenet-200': 'Tiny-ImageNet'}


class DataChecks:
    """Checks the datasets of a config, reading each annotation file once.

    Args:
        cfg: The config, its data roots resolved.
        num_classes: Of every head of the network, by the head's name.
    """

    def __init__(self, cfg: Config, num_classes: dict[str, int]):
        self.cfg = cfg
        self.num_classes = num_classes
        self._documents = {}
        self._folders = {}
        self._whole = set()

    def check(self, split: str) -> None:
        """Check the dataset and the evaluator of ``'train'``, ``'val'`` or ``'test'``.

        Raises:
            InputError: Data absent, annotations broken or of other classes, images missing or unreadable.
        """
        dataloader = self.cfg.get(f'{split}_dataloader')
        if dataloader is None:
            return
        for cfg in leaf_datasets(dataloader['dataset']):
            self._check_dataset(cfg)
        evaluators = self.cfg.get(f'{split}_evaluator')
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            ann_file = evaluator.get('ann_file') if isinstance(evaluator, dict) else None
            if ann_file and '://' not in ann_file:
                self._require([ann_file], 'COCO 2017' if '2017' in ann_file else None)
                if ann_file.endswith('.json'):
                    self._read_json(ann_file)

    def images(self, split: str) -> list[tuple[list[str], str, Callable]]:
        """Image files of a split, what they are, and the decoder that reads them."""
        return [found for cfg in leaf_datasets(self.cfg[f'{split}_dataloader']['dataset'])
                for found in self._find_images(cfg, _build(cfg))]

    def _check_dataset(self, cfg: dict) -> None:
        source = _source(cfg)
        root = cfg.get('data_root')
        if root and '://' in root or cfg.get('backend_args'):
            return  # not on a file system
        will_download = type_name(cfg).startswith(('CIFAR', 'MNIST')) and cfg.get('download', True)
        if root and not will_download:
            self._require([root], source)
        dataset = self._build(cfg, source)
        if dataset is None or will_download:
            return
        prefixes = getattr(dataset, 'data_prefix', None) or {}
        paths = [getattr(dataset, 'ann_file', ''), *prefixes.values()]
        self._require([path for path in paths if path], source)

        kinds = {kind.__name__ for kind in type(dataset).__mro__}
        if 'CocoDataset' in kinds and 'CocoPanopticDataset' not in kinds:
            self._check_coco_classes(dataset)
        elif 'BaseSegDataset' in kinds:
            self._compare_with_heads(dataset.metainfo.get('classes'), _where(dataset))
        elif 'CustomDataset' in kinds:
            self._check_class_folders(dataset)
        elif 'CIFAR10' in kinds:
            self._check_cifar(dataset, source)
        elif str(dataset.ann_file).endswith('.json'):
            self._read_json(dataset.ann_file)
        for paths, what, read in self._find_images(cfg, dataset):
            if not paths:
                raise InputError(f'{_where(dataset)} holds no {what} that the config could use')
            check_images(paths, f'{what} of {_where(dataset)}', read)

    def _build(self, cfg: dict, source: str | None):
        """The dataset without its data; None where its class cannot be built so."""
        try:
            return _build(cfg)
        except (AssertionError, FileNotFoundError) as error:
            prefix = cfg.get('data_prefix') or {}
            names = [cfg.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [prefix])]
            self._require([os.path.join(cfg.get('data_root') or '', name) for name in names if name], source)
            raise InputError(f'the dataset {type_name(cfg)} cannot be built: {error}') from error
        except TypeError:
            return None

    def _find_images(self, cfg: dict, dataset) -> list[tuple[list[str], str, object]]:
        """(files, what they are, reader) of a dataset of a known family, after its own filter."""
        kinds = {kind.__name__ for kind in type(dataset).__mro__}
        if 'CocoDataset' in kinds and 'CocoPanopticDataset' not in kinds:
            infos = coco_data_list(dataset, self._read_json(dataset.ann_file))
        elif kinds & {'BaseSegDataset', 'CustomDataset'}:
            infos = dataset.load_data_list()
            dataset.data_list = infos
            infos = dataset.filter_data()
        else:
            return []
        indices = dataset._indices
        if indices is not None:
            infos = [infos[i] for i in indices] if not isinstance(indices, int) else (
                infos[:indices] if indices >= 0 else infos[indices:])
        steps = {type_name(step): step for step in cfg.get('pipeline') or [] if isinstance(step, dict)}
        backend = steps.get('LoadImageFromFile', {}).get('imdecode_backend', 'cv2')
        found = [([info['img_path'] for info in infos], 'images', partial(read_image, backend=backend))]
        if 'BaseSegDataset' in kinds and 'LoadAnnotations' in steps:
            backend = steps['LoadAnnotations'].get('imdecode_backend', 'pillow')
            found.append(([info['seg_map_path'] for info in infos], 'label maps',
                          partial(_read_label_map, backend=backend, dataset=dataset)))
        return found

    def _check_coco_classes(self, dataset) -> None:
        document = self._read_json(dataset.ann_file)
        for key in ('images', 'categories'):
            if not isinstance(document, dict) or key not in document:
                raise InputError(f'{dataset.ann_file} is no COCO annotation file: it has no list "{key}"')
        wanted = list(dataset.metainfo['classes'])
        present = [category['name'] for category in document['categories']]
        missing = [name for name in wanted if name not in present]
        if missing:
            raise InputError(
                f'{dataset.ann_file} has other classes than the config: {listed(missing)} of the config '
                f'({len(wanted)} classes) are not among the {len(present)} of the file: {listed(present)}. '
                'Set metainfo=dict(classes=(...)) in the datasets, and num_classes in the head')
        in_order = [name for name in present if name in wanted]
        if in_order != wanted:
            raise InputError(
                f'{dataset.ann_file} lists the classes in another order than the config, and the labels follow the '
                f'file. Set metainfo=dict(classes=...) in the order of the file: {listed(in_order, most=100)}')
        self._compare_with_heads(wanted, dataset.ann_file)

    def _check_class_folders(self, dataset) -> None:
        classes = dataset.metainfo.get('classes')
        if dataset.with_label and not dataset.ann_file:
            folders = sorted(entry.name for entry in os.scandir(dataset.img_prefix) if entry.is_dir())
            if classes is not None and len(classes) != len(folders):
                raise InputError(f'{dataset.img_prefix} has {len(folders)} class folders ({listed(folders)}), the '
                                 f'config {len(classes)} classes ({listed(classes)})')
            for other, others in self._folders.items():
                if others != folders:
                    different = sorted(set(folders) ^ set(others))
                    raise InputError(f'{other} and {dataset.img_prefix} have different class folders, and labels '
                                     f'follow the folders: only in one of them {listed(different)}')
            self._folders[dataset.img_prefix] = folders
            classes = classes or folders
        self._compare_with_heads(classes, _where(dataset))

    def _check_cifar(self, dataset, source: str | None) -> None:
        """The files of all splits, as the dataset itself wants them before it reads one."""
        folder = Path(dataset.data_prefix['root'], dataset.base_folder)
        if folder not in self._whole:
            files = [(folder / name, md5) for name, md5 in dataset.train_list + dataset.test_list]
            self._require([str(path) for path, _ in files], source)
            broken = [path for path, md5 in files if md5 is not None and md5_of(path) != md5]
            if broken:
                raise InputError(f'{listed(broken)}: not the published file, or a torn one (its MD5 is another). '
                                 f'Get it again: {SOURCES.get(source, dataset.url)}')
            self._whole.add(folder)
        self._compare_with_heads(dataset.metainfo.get('classes'), str(folder))

    def _compare_with_heads(self, classes, where: str) -> None:
        for head, number in self.num_classes.items():
            if classes is not None and number != len(classes):
                raise InputError(f'{head}.num_classes is {number}, but {where} is used with {len(classes)} classes: '
                                 f'{listed(classes)}')

    def _read_json(self, path: str):
        if path not in self._documents:
            self._documents[path] = read_json(path)
        return self._documents[path]

    def _require(self, paths: list[str], source: str | None) -> None:
        """InputError if one of the paths does not exist: what was tried, where to get it, what runs without
        it."""
        for path in paths:
            if not os.path.exists(path):
                raise InputError(self._absent(path, source))

    def _absent(self, path: str, source: str | None) -> str:
        tried = [os.path.abspath(path)]
        if not os.path.isabs(path) and checkout_root():
            tried.append(str(checkout_root() / path))
        lines = [f'{source or "data"} not found: there is no {" and no ".join(dict.fromkeys(tried))}.']
        mini = _mini_folder(path)
        if mini:
            return '\n'.join([*lines, f'These are mini data; make them with: mobileode mini-data --out {mini}'])
        if source:
            lines.append(f'To get it: {SOURCES[source]}.')
        lines.append(f'Data elsewhere: --cfg-options data_root=FOLDER, or set {DATA_VARIABLE} to the folder that takes '
                     'the place of data/.')
        small = _mini_twin(Path(self.cfg.filename or ''))
        if small is not None:
            lines.append(f'Without it: mobileode mini-data, then {short_path(small)}, runs on mini data made in a '
                         'minute.')
        return '\n'.join(lines)


def data_fault(error: Exception, cfg: Config, splits: tuple[str, ...]) -> str | None:
    """What is wrong with the data where loading them failed in a run; None where something else did."""
    text = str(error)
    in_worker = 'DataLoader worker' in text
    if not in_worker and not any(frame.name == 'prepare_data' for frame in traceback.extract_tb(error.__traceback__)):
        return None
    # A worker's error arrives as text: its traceback, which may quote these words from the program, and the
    # message last.
    for pattern, message in ((r'failed to load image: (.+)', 'the image {} became unreadable during the run'),
                             (r"No such file or directory: '(.+)'", 'the file {} vanished during the run')):
        found = re.findall(pattern, text)
        if found:
            return message.format(found[-1])
    print_log('Loading data failed; looking for a broken file.', logger='current')
    checks = DataChecks(cfg, {})
    for split in splits:
        for paths, what, read in checks.images(split):
            for path, fault in find_faulty(paths, read, SEARCH_SECONDS).items():
                return f'one of the {what} became unusable during the run: {path} {fault}'
    return None


def coco_data_list(dataset, document: dict) -> list[dict]:
    """Images that a CocoDataset uses, from its parsed annotation file: its own rules, without its index.

    Args:
        dataset: A CocoDataset without its data.
        document: The annotation file.

    Returns:
        ``img_path`` of each, in the dataset's order.

    Raises:
        InputError: An entry lacks a key that the dataset needs.
    """
    names = set(dataset.metainfo['classes'])
    keep = None if dataset.test_mode else dataset.filter_cfg
    try:
        ids = {category['id'] for category in document['categories'] if category['name'] in names}
        with_objects = {ann['image_id'] for ann in document.get('annotations', ()) if ann['category_id'] in ids}
        return [
            dict(img_path=os.path.join(dataset.data_prefix['img'], image['file_name'])) for image in document['images']
            if keep is None or (image['id'] in with_objects or not keep.get('filter_empty_gt', False))
            and min(image['width'], image['height']) >= keep.get('min_size', 0)
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f'{dataset.ann_file} is no COCO annotation file: an entry lacks {error}') from error


def _build(cfg: dict):
    return DATASETS.build({**cfg, 'lazy_init': True, 'pipeline': []})


def _source(cfg: dict) -> str | None:
    name = type_name(cfg)
    if name == 'CocoDataset' and '2017' in str(cfg.get('ann_file')):
        return 'COCO 2017'
    folders = Path(str(cfg.get('data_root'))).parts
    return (next((source for folder, source in _SOURCE_BY_FOLDER.items() if folder in folders), None)
            or {'ImageNet': 'ImageNet', 'CIFAR10': 'CIFAR-10'}.get(name))


def _mini_twin(config: Path) -> Path | None:
    """The config that trains the network of ``config`` on mini data.

    Configs that differ in what real data they train on share one: ``X_mini.py`` is that of ``X_busi.py`` too.
    """
    words = config.stem.split('_')
    twins = (config.with_name(f'{"_".join(words[:count])}_mini.py') for count in range(len(words), 0, -1))
    return next((twin for twin in twins if twin.is_file()), None)


def _mini_folder(path: str) -> str | None:
    """The mini data's own folder, where ``path`` lies in it."""
    match = re.search(r'^(.*\bmini)/(coco|VOCdevkit|classification)\b', path)
    return match and match[1]


def _where(dataset) -> str:
    return str(dataset.ann_file or next(iter(dataset.data_prefix.values()), '') or dataset.data_root)


def _read_label_map(path: str, backend: str, dataset) -> None:
    labels = np.unique(read_image(path, backend))
    classes = dataset.label_map or dataset.metainfo.get('classes')
    if not classes:
        return
    highest = len(classes) - (0 if dataset.reduce_zero_label else 1)
    strange = [int(label) for label in labels if label > highest and label != dataset.ignore_index]
    if strange:
        raise ValueError(f'holds label {strange[0]}, the config has {len(classes)} classes')
