"""The pages of docs/: each is on the site, every link and anchor leads somewhere, and what is generated is of today."""
import functools
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.complexity.from_config import count_config
from benchmarks.zoo_page import COUNTS, TIMES, models, zoo_page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.rglob('*.md'))
READ = [*PAGES, *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'configs/README.md'))]
SITE = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())


def named(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """Text of a page without its blocks of code."""
    return re.sub(r'^ *```.*?^ *```', '', path.read_text(), flags=re.MULTILINE | re.DOTALL)


@functools.cache
def anchors(path):
    """Of the headings of a page, as GitHub and, by docs/hooks.py, the site make them."""
    found = []
    for title in re.findall(r'^#+ (.*)', prose(path), flags=re.MULTILINE):
        title = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', title).strip().lower()
        anchor = re.sub(r'[^\w\- ]', '', title).replace(' ', '-')
        found.append(anchor)
    return found


def links(path):
    text = re.sub(r'`[^`\n]*`', '`', prose(path))
    return [link for link in re.findall(r'\]\(([^)\s]+)\)', text) if not re.match(r'https?:', link)]


def places(nav):
    for entry in nav:
        for place in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [place] if isinstance(place, str) else places(place)


def test_every_page_is_on_the_site_once():
    assert sorted(places(SITE['nav'])) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


@pytest.mark.parametrize('path', READ, ids=named)
def test_links_and_anchors_lead_somewhere(path):
    broken = []
    for link in links(path):
        file, _, anchor = link.partition('#')
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or anchor and anchor not in anchors(target):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize('path', PAGES, ids=named)
def test_anchors_are_unique(path):
    """The two sites number repeated ones differently."""
    assert len(set(anchors(path))) == len(anchors(path))


@pytest.mark.parametrize('path', PAGES, ids=named)
def test_lists_and_tables_begin_where_the_site_sees_them(path):
    """Unlike GitHub, the site starts lists and tables after an empty line alone, and nests by four spaces."""
    lines = ['', *prose(path).splitlines()]
    unseen = []
    for before, line in zip(lines, lines[1:]):
        begins = re.match(r'( *)(\||[-*] |\d+\. )', line)
        if begins and before and not before.startswith((' ', '<!--')) and not re.match(r' *(\||[-*] |\d+\. )', before):
            unseen.append(line)
        if begins and len(begins[1]) % 4:
            unseen.append(line)
    assert not unseen


def test_links_out_of_docs_lead_to_the_repository():
    spec = importlib.util.spec_from_file_location('hooks', DOCS / 'hooks.py')
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    text = 'see [a config](../configs/x.py), [peers](../configs/peers), [top](../README.md#licence), [here](gpu.md)'
    assert hooks.outward(text, 'swap.md', 'https://host/us/it/') == (
        'see [a config](https://host/us/it/blob/main/configs/x.py), '
        '[peers](https://host/us/it/tree/main/configs/peers), '
        '[top](https://host/us/it/blob/main/README.md#licence), [here](gpu.md)')
    assert hooks.outward(text, 'swap.md', None) == 'see a config, peers, top, [here](gpu.md)'
    nested = '[gpu](../gpu.md), [tools](../../tools)'
    assert hooks.outward(nested, 'api/index.md', 'https://host/us/it') == (
        '[gpu](../gpu.md), [tools](https://host/us/it/tree/main/tools)')


def test_the_zoo_page_is_what_the_command_writes():
    assert (DOCS / 'zoo.md').read_text() == zoo_page()


def test_the_counts_are_of_every_config_and_agree_with_the_metafile():
    counts = json.loads(COUNTS.read_text())
    assert {config: counted['parameters'] for config, counted in counts.items()} == {
        model['Config']: model['Metadata']['Parameters'] for model in models()}


def test_the_times_are_of_the_configs():
    times = json.loads(TIMES.read_text())['times']
    assert len(times) > 50 and set(times) <= {model['Config'] for model in models()}
    assert all(taken['milliseconds'] > 0 and taken['onnx_milliseconds'] > 0 for taken in times.values())


def test_a_count_of_today():
    config = 'configs/classify_mobileode_cifar10.py'
    counted, size = count_config(ROOT / config)
    assert json.loads(COUNTS.read_text())[config] == dict(
        input_size=list(size), parameters=counted.parameters, macs=counted.cost.macs)


def rows_of_paper():
    """Of the lines of tables whose last cell is a link: the page or file, and the figures in the second cell."""
    for line in (DOCS / 'paper.md').read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        source = re.fullmatch(r'\[[^\]]*\]\(([^)#]+)[^)]*\)', cells[-1])
        if line.startswith('|') and source:
            yield source[1], re.findall(r'\d[\d,]*\.\d+|\d+,[\d,]*\d', cells[1])


def test_figures_of_the_paper_page_are_those_of_their_sources():
    rows = list(rows_of_paper())
    assert sum(len(figures) for _, figures in rows) > 60
    wrong = []
    for source, figures in rows:
        path = DOCS / source
        text = path.read_text().replace(',', '') if path.is_file() else ''
        known = set(re.findall(r'\d+(?:\.\d+)?', text))
        wrong += [(source, figure) for figure in figures if figure.replace(',', '') not in known]
    assert not wrong
