"""Results as JSON and as Markdown."""

import json
from pathlib import Path

from mobileode_mm.errors import InputError

from .rounds import geometric_mean, quartiles, round_ratios

JSON_NAME, MARKDOWN_NAME = 'benchmark.json', 'benchmark.md'
MEGABYTE = 2 ** 20


def free_folder(out: str | Path, names: tuple[str, ...] = (JSON_NAME, MARKDOWN_NAME)) -> Path:
    """The folder, after a look that nothing in it would be written over.

    Raises:
        InputError: One of ``names`` is there, or ``out`` is a file.
    """
    out = Path(out)
    taken = [str(out)] if out.exists() and not out.is_dir() else [str(out / name) for name in names
                                                                  if (out / name).exists()]
    if taken:
        raise InputError(f'{taken[0]} exists and would be written over; give another folder to --out')
    return out


def write_report(out: Path, texts: dict[str, str]) -> None:
    """Write each text under its name; none over a file that appeared since :func:`free_folder` looked."""
    free_folder(out, tuple(texts))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with open(out / name, 'x', encoding='utf-8') as file:
            file.write(text)


def baseline_labels(labels: list[str], names: list[str]) -> list[str]:
    """The measured paths of each named baseline, in the order of ``names``."""
    return [label for name in names for label in labels if label.rpartition('/')[0] == name or label == name]


def add_ratios(case: dict, names: list[str]) -> None:
    """Median, quartiles and, to each baseline, median and quartiles of the round-by-round ratios, into each side."""
    samples = {side['label']: side['samples_ms'] for side in case['sides'] if side['samples_ms']}
    for side in case['sides']:
        if not side['samples_ms']:
            continue
        low, middle, high = quartiles(side['samples_ms'])
        side.update(median_ms=middle, quartiles_ms=[low, high], ratios={})
        for label in baseline_labels(list(samples), names):
            low, middle, high = quartiles(round_ratios(side['samples_ms'], samples[label]))
            side['ratios'][label] = dict(median=middle, quartiles=[low, high])


def mean_ratios(cases: list[dict]) -> dict[str, dict[str, float]]:
    """Geometric mean over the cases of each side's median ratio to each baseline; absent where a case lacks it."""
    found = {}
    for case in cases:
        for side in case['sides']:
            for label, ratio in side.get('ratios', {}).items():
                found.setdefault(side['label'], {}).setdefault(label, []).append(ratio['median'])
    return {side: {label: geometric_mean(ratios) for label, ratios in by_label.items() if len(ratios) == len(cases)}
            for side, by_label in found.items()}


def as_json(result: dict) -> str:
    return json.dumps(result, ensure_ascii=False, indent=1) + '\n'


def as_markdown(result: dict) -> str:
    """Tables of a benchmark's result: medians, ratios, then everything of each case."""
    cases = result['cases']
    labels = list(dict.fromkeys(side['label'] for case in cases for side in case['sides']))
    sides = [{side['label']: side for side in case['sides']} for case in cases]
    titles = [case_title(case) for case in cases]
    parts = [f'# {result["subject"]}, {result["mode"]}', describe(result)]

    def summary(cell, *arguments):
        return [[title, *(cell(by_label.get(label, {}), *arguments) for label in labels)]
                for title, by_label in zip(titles, sides)]

    parts += ['## Milliseconds, median', table(['', *labels], summary(lambda side: number(side.get('median_ms'))))]
    baselines = list(dict.fromkeys(
        label for case in cases for side in case['sides'] for label in side.get('ratios', {})))
    for baseline in baselines:
        rows = summary(_ratio, baseline)
        if len(cases) > 1:
            means = result['geometric_means']
            rows.append(['**geometric mean**', *(number(means.get(label, {}).get(baseline)) for label in labels)])
        parts += [f'## Time over that of {baseline}', table(['', *labels], rows)]
    parts += memory_over_steps(cases)
    for title, case in zip(titles, cases):
        parts += [f'## {title}', case_table(case, baselines)]
    return '\n\n'.join(parts) + '\n'


def describe(result: dict) -> str:
    lines = [result['machine'],
             f'batch {result["batch"]}, {result["dtype"]}, {result["device"]}, {result["rounds"]} rounds in which each '
             'side was measured in turn',
             f'numbers compared with: {result["reference"]}']
    return '\n'.join(f'- {line}' for line in lines)


def _ratio(side: dict, baseline: str) -> str:
    return number(side.get('ratios', {}).get(baseline, {}).get('median'))


def case_title(case: dict) -> str:
    return case['title'] + (f', L = {case["num_steps"]}' if case['num_steps'] else '')


def case_table(case: dict, baselines: list[str]) -> str:
    head = ['side', 'median ms', 'quartiles', *(f'÷ {label}' for label in baselines), 'saved for backward, MB',
            'peak, MB', 'difference from the reference']
    rows = []
    for side in case['sides']:
        ratios = [side.get('ratios', {}).get(label) for label in baselines]
        rows.append([
            side['label'], number(side.get('median_ms')), spread(side.get('quartiles_ms')),
            *(f'{number(ratio["median"])} ({spread(ratio["quartiles"])})' if ratio else '–' for ratio in ratios),
            megabytes(side['saved_bytes']), megabytes(side['peak_bytes']), agreement(side)])
    return table(head, rows)


def memory_over_steps(cases: list[dict]) -> list[str]:
    """Saved bytes of each side at each L, over those at the smallest L; nothing where there is one L only."""
    steps = sorted({case['num_steps'] for case in cases if case['num_steps']})
    saved = {}
    for case in cases:
        for side in case['sides']:
            if side['saved_bytes'] is not None:
                saved.setdefault((case['title'], side['label']), {})[case['num_steps']] = side['saved_bytes']
    if len(steps) < 2 or not saved:
        return []
    rows = []
    for (title, label), by_steps in saved.items():
        base = by_steps.get(steps[0])
        cells = [megabytes(by_steps.get(count)) for count in steps]
        ratios = [number(by_steps[count] / base) if base and count in by_steps else '–' for count in steps[1:]]
        rows.append([title, label, *cells, *ratios])
    head = ['', 'side', *(f'L = {count}' for count in steps), *(f'{count} over {steps[0]}' for count in steps[1:])]
    return ['## Saved for the backward pass, MB', table(head, rows)]


def agreement(side: dict) -> str:
    if side['error']:
        return f'**failed**: {side["error"]}'
    if side['difference'] is None:
        return '–'
    return f'{side["difference"]:.1e} ({side["worst"]})'


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3g}' if value < 100 else f'{value:.0f}'


def spread(pair: list[float] | None) -> str:
    return '–' if pair is None else f'{number(pair[0])} to {number(pair[1])}'


def megabytes(count: int | None) -> str:
    return '–' if count is None else number(count / MEGABYTE)
