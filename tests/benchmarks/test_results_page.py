"""The pages of docs/: their tables and charts are those of docs/results."""
import functools
import re
from pathlib import Path

import pytest

from benchmarks import results_page

DOCS = Path(__file__).parents[2] / 'docs'
PAGES = {page.name: page.read_text() for page in sorted(DOCS.glob('*.md'))}
#: Sections whose tables are not of docs/results: lists, a run whose JSON was not kept.
BY_HAND = ('Suites', 'How it is measured', 'The mini data, longer and from scratch')


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


@pytest.mark.parametrize('name', ['benchmarks.md', 'performance.md'])
def test_no_table_of_figures_stands_outside_of_the_blocks(name):
    rest = PAGES[name]
    for blocks in (results_page.OTHERS, results_page.BLOCK, results_page.MARKED):
        rest = blocks.sub('', rest)
    for section in re.split(r'(?m)^## ', rest)[1:]:
        title = section.split('\n')[0]
        assert title in BY_HAND or not re.search(r'(?m)^\|', section), title
