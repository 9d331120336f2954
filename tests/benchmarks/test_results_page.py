"""The pages of docs/: their tables and charts are those of docs/results."""
import functools
import re
from pathlib import Path

import pytest

from benchmarks import results_page, sentences

DOCS = Path(__file__).parents[2] / 'docs'
PAGES = {page.name: page.read_text() for page in results_page.PAGES}
#: Written whole by a command, or compared with what it names, figure by figure: both in tests/test_site.py.
TESTED_ELSEWHERE = ('zoo.md', 'paper.md')
#: The other pages without what a command writes into them.
WRITTEN_BY_HAND = {name: functools.reduce(lambda rest, blocks: blocks.sub('', rest),
                                          (results_page.OTHERS, results_page.BLOCK, results_page.MARKED), text)
                   for name, text in PAGES.items() if name not in TESTED_ELSEWHERE}
#: Figures in sentences that are settings or aims, no results.
SETTINGS = {
    'anytime.md': {'0.5', '1.5'}, 'deploy.md': {'0.3'}, 'gpu.md': {'0.9', '1.5'}, 'own_data.md': {'0.3', '0.5'},
    'performance.md': {'0.9', '1.5'}, 'segmentation.md': {'0.01', '0.1'}, 'transfer.md': {'0.85', '1.1'}}


#: Of a text, once: drawing the charts takes the time.
generate = functools.cache(results_page.generate)


@pytest.mark.parametrize('name', [name for name, text in PAGES.items() if results_page.MARKED.search(text)
                                  or results_page.BLOCK.search(text) or results_page.OTHERS.search(text)])
def test_pages_and_charts_are_what_the_command_writes(name):
    page, charts = generate(PAGES[name])
    assert page == PAGES[name], 'python benchmarks/results_page.py'
    for name, svg in charts.items():
        assert (DOCS / 'images' / name).read_text() == svg, f'{name}: python benchmarks/results_page.py'


def test_results_and_charts_are_shown():
    marks = [mark[2] for text in PAGES.values() for mark in results_page.MARKED.finditer(text)]
    assert len(marks) > 10 and len(set(marks)) == len(marks)
    assert all(results_page.marked(name)[0] for name in marks)
    charts = [chart for text in PAGES.values() for chart in generate(text)[1]]
    assert len(charts) >= 3 and all(f'images/{chart}' in ''.join(PAGES.values()) for chart in charts)


@pytest.mark.parametrize('name, mark', [
    ('benchmarks.md', 'results: mini, charts'), ('deploy.md', 'bench: begin'), ('own_data.md', 'fits-trees: begin')])
def test_a_figure_typed_into_a_block_is_replaced(name, mark):
    before, block = PAGES[name].split(f'<!-- {mark} -->')
    typed = f'<!-- {mark} -->'.join([before, re.sub(r'\d+\.\d+ ', '99.9 ', block, count=1)])
    assert typed != PAGES[name] and results_page.generate(typed)[0] == PAGES[name]


@pytest.mark.parametrize('name', WRITTEN_BY_HAND)
def test_no_figure_is_typed_into_a_table(name):
    rest = re.sub(r'`[^`]*`', '', WRITTEN_BY_HAND[name])  # settings are no results
    typed = [line for line in rest.splitlines() if line.startswith('|') and re.search(r'\d\.\d', line)]
    assert not typed, 'write it by a command, between marks that benchmarks/results_page.py knows'


@pytest.mark.parametrize('name', WRITTEN_BY_HAND)
def test_no_figure_is_typed_into_a_sentence(name):
    rest = sentences.MARKED.sub('', WRITTEN_BY_HAND[name])
    rest = re.sub(r'```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:\S+', '', rest, flags=re.DOTALL)
    rest = re.sub(r'(Apache-|Python ≥ |Python |torch from |torch |onnxruntime )\d[\d.]*', '', rest)  # versions
    figures = set(re.findall(r'(?<![\w.])\d+\.\d+(?![\w.])|\d+ points', rest))
    assert figures == SETTINGS.get(name, set()), 'name it in benchmarks/sentences.py, and mark it in the sentence'


def test_every_figure_of_a_sentence_is_shown():
    # A comment at a line's start would begin a block of HTML, and end the paragraph.
    assert not any(re.search(r'^\W*<!-- = ', text, re.MULTILINE) for text in PAGES.values())
    shown = {mark[2] for text in PAGES.values() for mark in sentences.MARKED.finditer(text)}
    assert shown == set(sentences.FIGURES)
