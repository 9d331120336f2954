"""The data sets that a config names, found and built without their data."""
import os
import re
from functools import cached_property
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from ...data.coco_file import read_coco
from ...data.places import SOURCES
from ...data.verify.cifar10 import md5_of
from ...errors import InputError, listed
from ..config import DATA_VARIABLE, checkout_root, leaf_datasets, short_path, type_name

#: What the data are whose root has such a folder in its path, as this project's configs name them.
_SOURCE_BY_FOLDER = {'VOC2012': 'Pascal VOC 2012', 'ADEChallengeData2016': 'ADE20K', 'busi': 'BUSI', 'faces': 'faces',
                     'imagenet-r': 'ImageNet-R', 'tiny-imagenet-200': 'Tiny-ImageNet',
                     'tree_parts': 'tree photographs'}
#: What ``data_prefix`` calls the folder of the images, by who lists them.
_IMAGES = {'CocoDataset.load_data_list': 'img', 'BaseSegDataset.load_data_list': 'img_path'}


class Documents:
    """Annotation files in JSON, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[dict, dict]] = {}

    def __call__(self, path: str) -> dict:
        """What a file holds, filled in as :func:`mobileode_mm.data.coco_file.complete` does."""
        return self._both(path)[0]

    def filled(self, path: str) -> dict[str, list]:
        """What was filled in."""
        return self._both(path)[1]

    def _both(self, path: str) -> tuple[dict, dict]:
        path = os.path.abspath(path)
        if path not in self._read:
            self._read[path] = read_coco(path)
        return self._read[path]


class Source:
    """One data set of a split, without its wrappers and without its data.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        cfg: Config of the data set.
        dataset: Built of it, without its data.
        documents: Reads annotation files.

    Attributes:
        kind: ``'coco'`` and ``'xml'`` (boxes), ``'masks'`` (label maps), ``'classes'`` (classification), ``'cifar10'``,
            or ``''`` where only the presence of its files is known.
        where: Its annotation file, or its folder where it has none.
        classes: Names of the classes that the config gives, or that its class has.
    """

    def __init__(self, split: str, cfg: dict, dataset, documents: Documents):
        self.split, self.cfg, self.dataset, self._documents = split, cfg, dataset, documents
        kinds = {kind.__name__ for kind in type(dataset).__mro__}
        coco = 'CocoDataset' in kinds and 'CocoPanopticDataset' not in kinds
        # Others that inherit from XMLDataset have folders of their own.
        xml = 'XMLDataset' in kinds and type(dataset).load_data_list.__qualname__ == 'XMLDataset.load_data_list'
        self.kind = next((kind for kind, fits in (
            ('coco', coco), ('xml', xml), ('masks', 'BaseSegDataset' in kinds), ('classes', 'CustomDataset' in kinds),
            ('cifar10', 'CIFAR10' in kinds)) if fits), '')
        self.where = str(dataset.ann_file or next(iter(dataset.data_prefix.values()), '') or dataset.data_root)
        classes = dataset.metainfo.get('classes')  # reading the images adds those of class folders
        self.classes: list[str] | None = None if classes is None else list(classes)
        if self.kind == 'cifar10':
            self.where = os.path.join(dataset.data_prefix['root'], dataset.base_folder)

    @cached_property
    def folders(self) -> list[str]:
        """Class folders in the order of their labels; none where a list gives the labels."""
        if self.kind != 'classes' or self.dataset.ann_file or not self.dataset.with_label:
            return []
        return sorted(entry.name for entry in os.scandir(self.dataset.img_prefix) if entry.is_dir())

    @property
    def document(self) -> dict:
        """The annotation file."""
        return self._documents(self.dataset.ann_file)

    @property
    def lists_images(self) -> bool:
        """Whether :attr:`infos` tells its images."""
        return self.kind in ('coco', 'xml', 'masks', 'classes')

    @cached_property
    def infos(self) -> list[dict]:
        """The images that are used, after the data set's own filter: ``img_path``, and what else it knows of each.

        Raises:
            InputError: ``indices`` of the data set are beyond its images, or it cannot list them.
        """
        dataset = self.dataset
        if not self.lists_images:
            return []
        key = _IMAGES.get(type(dataset).load_data_list.__qualname__)
        if key and dataset.data_prefix.get(key) is None:
            raise InputError(f'data_prefix of the {type(dataset).__name__} has no {key}, the folder of the images, but '
                             f'{listed(dataset.data_prefix) or "nothing"}: write data_prefix=dict({key}=...)')
        if self.kind == 'coco':
            infos = coco_data_list(dataset, self.document)
        else:
            try:
                dataset.data_list = dataset.load_data_list()
                infos = dataset.filter_data()
            except (AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
                # Of whichever type: no image of a known suffix, an image that XML does not give a size and is absent.
                raise InputError(f'{self.where}: {type(dataset).__name__} cannot list its images: {error}') from error
        indices = dataset._indices
        if isinstance(indices, int):
            return infos[:indices] if indices >= 0 else infos[indices:]
        if indices is None:
            return infos
        beyond = [number for number in indices if not -len(infos) <= number < len(infos)]
        if beyond:
            raise InputError(f'the indices of the {self.split} data hold {listed(beyond)}, and {self.where} has '
                             f'{len(infos)} images: set indices of the dataset to numbers from 0 to {len(infos) - 1}')
        return [infos[number] for number in indices]

    def step(self, name: str) -> dict | None:
        """Settings of a step of the pipeline; None where it has no such step."""
        return next((step for step in self.cfg.get('pipeline') or []
                     if isinstance(step, dict) and type_name(step) == name), None)


def find_sources(cfg: Config, split: str, documents: Documents) -> list[Source]:
    """The data sets of a split whose files lie on this machine.

    Raises:
        InputError: Data that are absent: what was tried, where to get them, what runs without them.
    """
    sources = []
    for dataset_cfg in leaf_datasets(cfg[f'{split}_dataloader']['dataset']):
        dataset = _find(cfg, dataset_cfg)
        if dataset is not None:
            sources.append(Source(split, dataset_cfg, dataset, documents))
    return sources


def published(cfg: dict) -> str | None:
    """The published data set that a config of a data set means."""
    name = type_name(cfg)
    if name == 'CocoDataset' and '2017' in str(cfg.get('ann_file')):
        return 'COCO 2017'
    folders = Path(str(cfg.get('data_root'))).parts
    return (next((source for folder, source in _SOURCE_BY_FOLDER.items() if folder in folders), None)
            or {'ImageNet': 'ImageNet', 'CIFAR10': 'CIFAR-10'}.get(name))


def require(cfg: Config, paths: list[str], source: str | None) -> None:
    """InputError if one of the paths does not exist: what was tried, where to get it, what runs without it."""
    for path in paths:
        if not os.path.exists(path):
            raise InputError(_absent(cfg, path, source))


def coco_data_list(dataset, document: dict) -> list[dict]:
    """Images that a CocoDataset uses, from its parsed annotation file: its own rules, without its index.

    Args:
        dataset: A CocoDataset without its data.
        document: The annotation file.

    Returns:
        ``img_path``, ``img_id``, ``width`` and ``height`` of each, in the dataset's order.

    Raises:
        InputError: An entry lacks a key that the dataset needs.
    """
    names = set(dataset.metainfo['classes'])
    keep = None if dataset.test_mode else dataset.filter_cfg
    try:
        ids = {category['id'] for category in document['categories'] if category['name'] in names}
        with_objects = {ann['image_id'] for ann in document.get('annotations', ()) if ann['category_id'] in ids}
        return [
            dict(img_path=os.path.join(dataset.data_prefix['img'], image['file_name']), img_id=image['id'],
                 width=image['width'], height=image['height']) for image in document['images']
            if keep is None or (image['id'] in with_objects or not keep.get('filter_empty_gt', False))
            and min(image['width'], image['height']) >= keep.get('min_size', 0)
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f'{dataset.ann_file} is no COCO annotation file: an entry lacks {error}') from error


def check_cifar(source: Source, cfg: Config) -> None:
    """InputError where a file of CIFAR is absent or torn: of any split, as the data set wants all."""
    dataset = source.dataset
    files = [(Path(source.where, name), md5) for name, md5 in dataset.train_list + dataset.test_list]
    require(cfg, [str(path) for path, _ in files], published(source.cfg))
    broken = [path for path, md5 in files if md5 is not None and md5_of(path) != md5]
    if broken:
        raise InputError(f'{listed(broken)}: not the published file, or a torn one (its MD5 is another). '
                         f'Get it again: {SOURCES.get(published(source.cfg), dataset.url)}')


def _find(cfg: Config, dataset_cfg: dict):
    """The data set, built without its data; None where nothing of it can be looked at."""
    source = published(dataset_cfg)
    root = dataset_cfg.get('data_root')
    if root and '://' in root or dataset_cfg.get('backend_args'):
        return None  # not on a file system
    will_download = type_name(dataset_cfg).startswith(('CIFAR', 'MNIST')) and dataset_cfg.get('download', True)
    if root and not will_download:
        require(cfg, [root], source)
    try:
        dataset = DATASETS.build({**dataset_cfg, 'lazy_init': True, 'pipeline': []})
    except (AssertionError, AttributeError, FileNotFoundError, ValueError) as error:
        prefix = dataset_cfg.get('data_prefix') or {}
        names = [dataset_cfg.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [prefix])]
        require(cfg, [os.path.join(root or '', name) for name in names if name], source)
        raise InputError(f'the dataset {type_name(dataset_cfg)} cannot be built: {error}') from error
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown and unknown[1] in dataset_cfg:
            raise InputError(_no_argument(type_name(dataset_cfg), unknown[1])) from error
        return None  # it cannot be built without its data
    _check_metainfo(dataset)
    if will_download:
        return None
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    paths = [getattr(dataset, 'ann_file', ''), *prefixes.values()]
    require(cfg, [path for path in paths if path], source)
    return dataset


def _check_metainfo(dataset) -> None:
    """InputError for names of classes that a data set does not take as such, and says nothing."""
    kind = type(dataset).__name__
    metainfo = getattr(dataset, 'metainfo', None) or {}
    for key in metainfo:
        if key != key.lower() and key.lower() in ('classes', 'palette'):
            raise InputError(f'metainfo of the {kind} has {key}, which nothing reads: write {key.lower()}')
    if isinstance(metainfo.get('classes'), str):
        name = metainfo['classes']
        raise InputError(f'metainfo of the {kind} has classes={name!r}, whose letters would be the classes: write '
                         f'classes=({name!r}, ), with the comma')


def _no_argument(kind: str, name: str) -> str:
    hint = f': write metainfo=dict({name}=...)' if name in ('classes', 'palette') else ''
    return f'the dataset {kind} has no argument {name}{hint}'


def _absent(cfg: Config, path: str, source: str | None) -> str:
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
    small = _mini_twin(Path(cfg.filename or ''))
    if small is not None:
        lines.append(f'Without it: mobileode mini-data, then {short_path(small)}, runs on mini data made in a '
                     'minute.')
    return '\n'.join(lines)


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
