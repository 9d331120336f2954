"""The tables and charts of README.md and of the pages of docs/, from docs/results.

``python benchmarks/results_page.py`` writes them. Of a page is replaced

- what stands between ``<!-- results: SUITE -->``, or ``<!-- results: SUITE, charts -->``, and
  ``<!-- end of results -->``: of a suite's ``results.json``, copied to ``docs/results/SUITE.json``; with
  ``curves`` for ``charts`` those over the training alone; with ``of TASK, TASK`` behind it these tasks alone; for
  ``<!-- results: SUITE, summary -->`` a table of a line for each backbone;
- what stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``: of ``docs/results/NAME.json``, which the
  command that measures writes with ``--page``; NAME is that of the command's table, or begins with it and a dash. What
  stands between those of ``aims`` is of several;
- what stands between ``<!-- = NAME -->`` and ``<!-- = -->`` in a sentence: by ``benchmarks/sentences.py``;
- what stands between ``<!-- figures of others -->`` and ``<!-- end of figures -->``: what others measured, read from
  their packages.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from benchmarks import chaos, runtimes
from benchmarks.others import figures_of_others
from benchmarks.output import markdown
from benchmarks.sanitize import __main__ as sanitize
from benchmarks.sentences import with_figures
from benchmarks.speed import aims, files_report, floors, operators, report
from benchmarks.studies import anytime, fits, norms, other_sizes
from benchmarks.suites.page import charts, curves
from benchmarks.suites.suite import FOLDER
from benchmarks.suites.table import add_intervals, notes, summary, tables
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend

DOCS = Path(__file__).resolve().parents[1] / 'docs'
PAGES = [DOCS.parent / 'README.md', *sorted(DOCS.glob('*.md'))]
BLOCK = re.compile(r'(<!-- results: (\w+)(, charts|, curves|, summary)?(?: of ([\w, ]+))? -->\n).*?'
                   r'(<!-- end of results -->)', re.DOTALL)
MARKED = re.compile(r'(<!-- ([\w-]+): begin -->\n).*?(<!-- \2: end -->)', re.DOTALL)
OTHERS = re.compile(r'(<!-- figures of others -->\n).*?(<!-- end of figures -->)', re.DOTALL)
#: What makes the text of results, by the name of the command's table.
TEXTS: dict[str, Callable[..., str]] = {
    'anytime': anytime.markdown,
    'bench': files_report.as_markdown,
    'chaos': chaos.markdown,
    'compiled': markdown,
    'complexity': markdown,
    'fits': fits.markdown,
    'floors': floors.page_text,
    'fuzz': markdown,
    'gpu': markdown,
    'long-solvers': markdown,
    'norms': norms.markdown,
    'operators': operators.markdown,
    'other-sizes': other_sizes.markdown,
    'prebuilt': markdown,
    'runtimes': runtimes.as_markdown,
    'sanitize': sanitize.markdown,
    'torch': report.page_text,
}


def results(suite: str) -> dict | None:
    """Results of a suite; None where there are none.

    Those of before intervals were written get theirs from the runs' figures, and the reference that the suite has now;
    those of before files were timed have no such times.
    """
    path = DOCS / 'results' / f'{suite}.json'
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    for network in content['networks']:
        network.setdefault('onnx_milliseconds', None)
    if 'reference' not in content:
        content['reference'] = Config.fromfile(FOLDER / f'{suite}.py', import_custom_modules=False).get('reference')
        add_intervals(content['networks'], content['runs'], content['reference'])
    return content


def images(suite: str, content: dict, task: str, curves_alone: bool) -> dict[str, str]:
    """Charts of a task of a suite, or its curves over the training alone, by file name below docs/images."""
    drawn = [network for network in content['networks'] if network['task'] == task and network['metrics'][0]['runs']]
    if not drawn:
        return {}
    name = f'benchmark_{suite}_' + re.sub(r'\W+', '_', task.lower())
    made = {} if curves_alone else {f'{name}.svg': charts(drawn)}
    made[f'{name}_curves.svg'] = curves(content['runs'], drawn[0])
    return {name: svg for name, svg in made.items() if svg}


def marked(name: str) -> tuple[str | None, dict[str, str]]:
    """The text between the marks of a name, None where there are no results; and charts by file name."""
    if name == aims.NAME:  # of several results
        return aims.markdown(DOCS / 'results'), {}
    command = next((one for one in TEXTS if name == one or name.startswith(f'{one}-')), None)
    if command is None:
        raise KeyError(f'{name} is the name of no table: {", ".join(TEXTS)}')
    path = DOCS / 'results' / f'{name}.json'
    if not path.is_file():
        return None, {}
    content = json.loads(path.read_text())
    made = {f'{name}.svg': fits.curves(content)} if command == 'fits' else {}
    return TEXTS[command](content).strip(), made


def generate(page: str) -> tuple[str, dict[str, str]]:
    """A page with its blocks written anew, and the charts that they show, by file name."""
    made = {}

    def block(match: re.Match) -> str:
        start, suite, form, tasks, end = match.groups()
        content = results(suite)
        if content is None:
            return f'{start}\nNot run yet: `mobileode suite {suite} --jobs 2`.\n\n{end}'
        if form == ', summary':
            return f'{start}\n{summary(content["networks"])}\n\n{end}'

        def below(task: str) -> str:
            own = images(suite, content, task, form == ', curves') if form else {}
            made.update(own)
            return '\n'.join(f'![{name[:-4].replace("_", " ")}](images/{name})' for name in own)

        text = tables(content, tasks and tasks.split(', '), below)
        how = '\n\n'.join([*notes(content), f'Every run: [results/{suite}.json](results/{suite}.json).'])
        # Folded away, on GitHub as on the site.
        return (f'{start}\n{text}\n\n<details markdown>\n'
                f'<summary>What the figures are, and how they were made</summary>\n\n{how}\n\n</details>\n\n{end}')

    def between_marks(match: re.Match) -> str:
        start, name, end = match.groups()
        text, own = marked(name)
        made.update(own)
        return match[0] if text is None else f'{start}{text}\n{end}'

    page = with_figures(MARKED.sub(between_marks, page))
    page = OTHERS.sub(lambda match: f'{match[1]}\n{figures_of_others()}\n\n{match[2]}', page)
    return BLOCK.sub(block, page), made


def main() -> None:
    """Write pages and charts."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for page in PAGES:
        before = page.read_text()
        text, made = generate(before)
        for name, svg in made.items():
            AtomicLocalBackend().put_text(svg, DOCS / 'images' / name)
        if text != before:
            AtomicLocalBackend().put_text(text, page)


if __name__ == '__main__':
    main()
