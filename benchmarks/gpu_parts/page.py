"""The results of a part on a page: ``python -m benchmarks.gpu_parts.page FOLDER/PART.json``, once they have come home.

What stands on the page is kept as its paragraphs, so that ``benchmarks/results_page.py`` needs no Triton.
"""
import argparse
import importlib
import sys
from pathlib import Path

from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import exit_status

from .. import ROOT
from ..output import markdown, page_and_mark, put_into_page


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', type=Path, metavar='FILE', help='PART.json of mobileode gpu')
    parser.add_argument('--page', metavar='FILE[#NAME]', default=str(ROOT / 'docs/gpu.md'),
                        help='put the tables into this page, between its marks of this name (default: docs/gpu.md, '
                        'gpu-PART)')
    args = parser.parse_args(argv)

    def work() -> int:
        result = read_json(args.results)
        page, mark = page_and_mark(args.page, f'gpu-{result["part"]}')
        part = importlib.import_module(f'.{result["part"]}', __package__)
        left = [] if result['is_complete'] else ['Not all cases of this part ran in the time that there was.']
        paragraphs = [part.markdown(result['rows']), *left,
                      f'{result["machine"]}; commit {result["commit"] or "unknown"}.']
        put_into_page(page, mark, paragraphs, markdown(paragraphs))
        return 0

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
