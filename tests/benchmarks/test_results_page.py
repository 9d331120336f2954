"""docs/benchmarks.md: its tables and charts are those of docs/results."""
import re
from pathlib import Path

from benchmarks import results_page

ROOT = Path(__file__).parents[2]
#: Sections whose tables are not of docs/results: a list, a run whose JSON was not kept.
BY_HAND = ('Suites', 'The mini data, longer and from scratch')


def test_page_and_charts_are_what_the_command_writes():
    text = results_page.PAGE.read_text()
    page, charts = results_page.generate(text)
    assert page == text, 'python benchmarks/results_page.py'
    for name, svg in charts.items():
        assert (ROOT / 'docs/images' / name).read_text() == svg, f'{name}: python benchmarks/results_page.py'
    assert len(charts) >= 3


def test_a_figure_typed_into_a_block_is_replaced():
    text = results_page.PAGE.read_text()
    typed = re.sub(r'top-1 \d+\.\d ± ', 'top-1 99.9 ± ', text, count=1)
    assert typed != text and results_page.generate(typed)[0] == text


def test_no_table_of_figures_stands_outside_of_the_blocks():
    rest = results_page.OTHERS.sub('', results_page.BLOCK.sub('', results_page.PAGE.read_text()))
    for section in re.split(r'(?m)^## ', rest)[1:]:
        title = section.split('\n')[0]
        assert title in BY_HAND or not re.search(r'(?m)^\|', section), title
