"""The tables and charts of docs/benchmarks.md, from the results of suites in docs/results.

``python benchmarks/results_page.py`` writes them. A block of the page begins with ``<!-- results: SUITE -->``, or
``<!-- results: SUITE, charts -->``, and ends with ``<!-- end of results -->``; what stands between is replaced. The
results are ``results.json`` of a suite's folder, copied to ``docs/results/SUITE.json``. What others measured is read
from their packages.
"""

import argparse
import json
import re
from pathlib import Path

from mmengine.config import Config

from benchmarks.others import figures_of_others
from benchmarks.suites.page import charts, curves
from benchmarks.suites.suite import FOLDER
from benchmarks.suites.table import add_intervals, tables
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'benchmarks.md'
BLOCK = re.compile(r'(<!-- results: (\w+)(, charts)? -->\n).*?(<!-- end of results -->)', re.DOTALL)
OTHERS = re.compile(r'(<!-- figures of others -->\n).*?(<!-- end of figures -->)', re.DOTALL)


def results(suite: str) -> dict | None:
    """Results of a suite; None where there are none.

    Those of before intervals were written get theirs from the runs' figures, and the reference that the suite has now;
    those of before files were timed have no such times.
    """
    path = ROOT / 'docs' / 'results' / f'{suite}.json'
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    for network in content['networks']:
        network.setdefault('onnx_milliseconds', None)
    if 'reference' not in content:
        content['reference'] = Config.fromfile(FOLDER / f'{suite}.py', import_custom_modules=False).get('reference')
        add_intervals(content['networks'], content['runs'], content['reference'], {})
    return content


def images(suite: str, content: dict) -> dict[str, str]:
    """Charts of a suite, by file name below docs/images."""
    made = {}
    for task in dict.fromkeys(network['task'] for network in content['networks']):
        drawn = [network for network in content['networks']
                 if network['task'] == task and network['metrics'][0]['runs']]
        if drawn:
            made[f'benchmark_{suite}_{task}.svg'] = charts(drawn)
            made[f'benchmark_{suite}_{task}_curves.svg'] = curves(content['runs'], drawn[0])
    return {name: svg for name, svg in made.items() if svg}


def generate(page: str) -> tuple[str, dict[str, str]]:
    """The page with its blocks written anew, and the charts that they show, by file name."""
    made = {}

    def block(match: re.Match) -> str:
        start, suite, with_charts, end = match.groups()
        content = results(suite)
        if content is None:
            return f'{start}\nNot run yet: `mobileode suite {suite} --jobs 2`.\n\n{end}'
        body = tables(content)
        if with_charts:
            own = images(suite, content)
            made.update(own)
            body += '\n\n' + '\n'.join(f'![{name[:-4].replace("_", " ")}](images/{name})' for name in own)
        return f'{start}\n{body}\n\nEvery run: [results/{suite}.json](results/{suite}.json).\n\n{end}'

    page = OTHERS.sub(lambda match: f'{match[1]}\n{figures_of_others()}\n\n{match[2]}', page)
    return BLOCK.sub(block, page), made


def main() -> None:
    """Write page and charts."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    text, made = generate(PAGE.read_text())
    for name, svg in made.items():
        AtomicLocalBackend().put_text(svg, ROOT / 'docs' / 'images' / name)
    AtomicLocalBackend().put_text(text, PAGE)


if __name__ == '__main__':
    main()
