"""The one pass over the data that a config names, for training, for testing and for ``mobileode verify``."""
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from ...data.images import find_faulty
from ...data.verify.annotations import check_file
from ...data.verify.report import NOT_CHECKED, Finding, Report
from ...errors import InputError
from ..config import leaf_datasets, short_path, type_name
from . import between, heads
from .batches import check_last_batch, check_left_out, check_sizes
from .images import check_files, readers
from .pipelines import check_chance, check_normalised
from .samples import samples
from .shared_memory import check_shared_memory
from .sources import Documents, Source, check_cifar, find_sources
from .xml_files import check_xml

#: How long a file that broke during the run is looked for where its error does not name it.
SEARCH_SECONDS = 60

Progress = Callable[[str], Callable[[int, int], object] | None]


def check_data(cfg: Config, splits: Sequence[str], num_classes: dict[str, int], model: nn.Module | None = None,
               trained: Sequence[str] | None = None, seconds: float | None = None,
               progress: Progress = lambda what: None) -> Report:
    """Check the data sets and evaluators of a config, reading each annotation file once.

    Args:
        cfg: The config, its data roots resolved; to be called in its scope.
        splits: Those of ``'train'``, ``'val'`` and ``'test'`` that are looked at.
        num_classes: Of every head of the network, by the head's name.
        model: The network, for the rules on batches; of no use after.
        trained: Names of the classes that the checkpoint was trained for, where a run goes on with it or tests it.
        seconds: How long the images of each data set are decoded; by default all where they are few, else a sample.
        progress: Gives a ``progress(done, total)`` for the files named.

    Returns:
        What was found; its problems would stop the run or spoil its results.
    """
    report = Report(f'the data of {short_path(cfg.filename)}' if cfg.filename else 'the data')
    documents = Documents()
    whole: dict[str, list[Source]] = {}
    for split in splits:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        try:
            sources = find_sources(cfg, split, documents)
        except InputError as error:
            report.add(Finding(str(error)))
            continue
        before = len(report.problems)
        unseen = len(leaf_datasets(cfg[f'{split}_dataloader']['dataset'])) - len(sources)
        if unseen:
            report.rows.append({'split': split, 'images': NOT_CHECKED})
            report.add(Finding(f'{unseen} of the datasets of {split}_dataloader are not checked: their files are not '
                               'on this machine, or not of a known layout', severity='warning'))
        for source in sources:
            found = _findings(_check_labels(cfg, source, num_classes, documents))
            found += _findings(heads.check_trained(source, trained))
            if not _errors(found):
                found += _findings(_check_images(source, report.rows, seconds, progress))
            report.add(*found)
        if len(report.problems) == before:
            whole[split] = sources
        if split != 'train':
            readable = whole.get(split, [])
            report.add(*_findings(between.check_evaluators(cfg, split, readable, documents)))
            report.add(*_findings(heads.check_topk(cfg, split, num_classes)))
            report.add(*(finding for source in readable for finding in check_chance(source)),
                       *check_left_out(cfg, split, readable))
    everything = [source for sources in whole.values() for source in sources]
    report.add(*_findings(between.check_same_classes(everything)))
    report.add(*_findings(between.check_label_offsets(everything)))
    report.add(*_findings(between.check_apart(everything)))
    if model is not None and 'train' in splits:
        report.add(*heads.check_class_weights(model), *heads.check_preprocessor(model, num_classes),
                   *heads.check_one_class(model))
    if model is not None and not report.problems:
        found = {split: [sample for source in sources for sample in samples(source)]
                 for split, sources in whole.items() if sources}
        for split in found:
            report.add(*check_normalised(whole[split], found[split], model))
            report.add(*_findings(check_sizes(cfg, whole[split], found[split], model)),
                       *_findings(check_shared_memory(cfg, split, found[split])))
        if 'train' in found:
            report.add(*_findings(check_last_batch(cfg, whole['train'], found['train'], model)))
    return report


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
    documents = Documents()
    for split in splits:
        for source in find_sources(cfg, split, documents):
            for paths, what, read in readers(source):
                for path, fault in find_faulty(paths, read, SEARCH_SECONDS).items():
                    return f'one of the {what} became unusable during the run: {path} {fault}'
    return None


def _check_labels(cfg: Config, source: Source, num_classes: dict[str, int], documents: Documents) -> Iterator[Finding]:
    """What a data set says about its images, before one of them is read."""
    if source.kind == 'coco':
        yield from _check_coco(cfg, source, documents)
    elif source.kind == 'cifar10':
        check_cifar(source, cfg)
    elif source.kind == 'classes':
        broken = [*heads.check_list(source), *heads.check_folders(source)]
        yield from broken
        if not _errors(broken):
            yield from heads.check_labels(source, num_classes)
    elif source.kind == 'masks':
        yield from heads.check_mask_classes(source)
    elif source.kind == 'xml':
        yield from check_xml(source)
    elif str(source.dataset.ann_file).endswith('.json'):
        documents(source.dataset.ann_file)  # a broken one is reported
        return
    yield from heads.check_number(source, num_classes)


def _check_images(source: Source, rows: list[dict], seconds: float | None, progress: Progress) -> Iterator[Finding]:
    """Images and label maps of a data set, which gets a row of its numbers."""
    rows.append(_row(source))
    if not source.kind:
        yield Finding(f'{source.where}: its images and labels are not checked, as {type_name(source.cfg)} is not known '
                      'here, only that its files are there', severity='warning')
    yield from check_files(source, seconds, progress)


def _check_coco(cfg: Config, source: Source, documents: Documents) -> Iterator[Finding]:
    path, document = source.dataset.ann_file, source.document
    judged = source.split == 'train' or any(
        not evaluator.get('format_only') for _, evaluator in heads.evaluators(cfg, source.split))
    broken = [*check_file(path, document, wanted=('images', 'categories', *(['annotations'] if judged else [])))]
    yield from broken
    if judged and source.split != 'train' and not _errors(broken) and all(
            annotation.get('iscrowd') for annotation in document['annotations']):
        what = 'no annotation but of crowds (iscrowd=1)' if document['annotations'] else 'no annotation'
        yield Finding(f'{path} holds {what}: there is nothing to measure by')
    for what, numbers in documents.filled(path).items():
        yield Finding(f'{path}: {what} of {len(numbers)} annotations is absent or of no use, and derived', '',
                      tuple(f'annotation {number}' for number in numbers), 'warning')
    if isinstance(document, dict) and isinstance(document.get('categories'), list):
        yield from heads.check_categories(source)
    if judged and source.split != 'train' and not _errors(broken):
        yield from heads.check_crowded(cfg, source)
    if (source.step('LoadAnnotations') or {}).get('with_mask') and isinstance(document, dict):
        yield from between.check_masks(source, 'LoadAnnotations has with_mask=True')


def _findings(check: Iterable[Finding]) -> list[Finding]:
    """All of them; an InputError that ends them becomes the last."""
    found = []
    try:
        for finding in check:
            found.append(finding)
    except InputError as error:
        found.append(Finding(str(error)))
    return found


def _errors(findings: list[Finding]) -> bool:
    return any(finding.severity == 'error' for finding in findings)


def _row(source: Source) -> dict:
    row: dict[str, int | str] = {'split': source.split}
    if source.kind != 'cifar10':  # whose files hold all images
        row['images'] = len(source.infos) if source.kind else NOT_CHECKED
    if source.kind == 'coco':
        row['objects'] = len(source.document.get('annotations') or ())
    elif source.kind == 'xml':
        row['objects'] = sum(len(info['instances']) for info in source.infos)
    classes = source.classes or source.folders
    return {**row, 'classes': len(classes)} if classes else row
