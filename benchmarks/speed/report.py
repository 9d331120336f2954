"""Ratios, and what was measured as Markdown; the folder that it is written into."""

from pathlib import Path
from statistics import geometric_mean

from mobileode_mm.errors import InputError

from ..output import number, table
from .sampling import quartiles, round_ratios

JSON_NAME, MARKDOWN_NAME = 'speed.json', 'speed.md'
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


def add_ratios(case: dict, names: list[str]) -> None:
    """Into each variant: median, quartiles and, to each baseline, those of the ratios taken round by round."""
    samples = {variant['label']: variant['samples_ms'] for variant in case['variants'] if variant['samples_ms']}
    for variant in case['variants']:
        if not variant['samples_ms']:
            continue
        low, middle, high = quartiles(variant['samples_ms'])
        variant.update(median_ms=middle, quartiles_ms=[low, high], ratios={})
        # Of each baseline the paths that were measured; a label without a path is a name.
        for label in (label for name in names for label in samples if name in (label, label.rpartition('/')[0])):
            low, middle, high = quartiles(round_ratios(variant['samples_ms'], samples[label]))
            variant['ratios'][label] = dict(median=middle, quartiles=[low, high])


def mean_ratios(cases: list[dict]) -> dict[str, dict[str, float]]:
    """Geometric mean over the cases of each variant's median ratio to each baseline; absent where a case lacks it."""
    found = {}
    for case in cases:
        for variant in case['variants']:
            for label, ratio in variant.get('ratios', {}).items():
                found.setdefault(variant['label'], {}).setdefault(label, []).append(ratio['median'])
    return {variant: {label: geometric_mean(ratios) for label, ratios in by_label.items() if len(ratios) == len(cases)}
            for variant, by_label in found.items()}


def page_text(result: dict) -> str:
    """What a page shows of what ``compare`` gives: of one case everything, of several their medians and ratios."""
    if len(result['cases']) == 1:
        return f'{_conditions(result)}\n\n{case_table(result["cases"][0], _baselines(result))}'
    return '\n\n'.join([_conditions(result), *(f'{title}:\n\n{lines}' for title, lines in _summaries(result))])


def as_markdown(result: dict) -> str:
    """Tables of what ``compare`` gives: medians, ratios, then everything of each case."""
    parts = [f'# {result["subject"]}, {result["mode"]}', _conditions(result)]
    for title, lines in _summaries(result):
        parts += [f'## {title}', lines]
    for title, case in zip(_titles(result), result['cases']):
        parts += [f'## {title}', case_table(case, _baselines(result))]
    return '\n\n'.join(parts) + '\n'


def _conditions(result: dict) -> str:
    return (f'- {result["machine"]}\n- batch {result["batch"]}, {result["dtype"]}, {result["device"]}, '
            f'{result["rounds"]} rounds in which each variant was measured in turn; {result["quiet"]}\n'
            f'- numbers compared with: {result["reference"]}')


def _titles(result: dict) -> list[str]:
    return [case['title'] + (f', L = {case["num_steps"]}' if case['num_steps'] else '') for case in result['cases']]


def _baselines(result: dict) -> list[str]:
    return list(dict.fromkeys(label for case in result['cases'] for variant in case['variants']
                              for label in variant.get('ratios', {})))


def _summaries(result: dict) -> list[tuple[str, str]]:
    """Title and table of the medians, of the ratios to each baseline, and of the memory over the steps."""
    cases = result['cases']
    labels = list(dict.fromkeys(variant['label'] for case in cases for variant in case['variants']))
    variants = [{variant['label']: variant for variant in case['variants']} for case in cases]

    def summary(value):
        return [[title, *(number(value(by_label.get(label, {}))) for label in labels)]
                for title, by_label in zip(_titles(result), variants)]

    parts = [('Milliseconds, median', table(['', *labels], summary(lambda variant: variant.get('median_ms'))))]
    for baseline in _baselines(result):
        rows = summary(lambda variant, label=baseline: variant.get('ratios', {}).get(label, {}).get('median'))
        if len(cases) > 1:
            means = result['geometric_means']
            rows.append(['**geometric mean**', *(number(means.get(label, {}).get(baseline)) for label in labels)])
        parts.append((f'Time over that of {baseline}', table(['', *labels], rows)))
    return parts + memory_over_steps(cases)


def case_table(case: dict, baselines: list[str]) -> str:
    head = ['variant', 'median ms', 'quartiles', *(f'÷ {label}' for label in baselines), 'saved for backward, MB',
            'peak, MB', 'difference from the reference']
    rows = []
    for variant in case['variants']:
        ratios = [variant.get('ratios', {}).get(label) for label in baselines]
        rows.append([
            variant['label'], number(variant.get('median_ms')), spread(variant.get('quartiles_ms')),
            *map(ratio_text, ratios),
            megabytes(variant['saved_bytes']), megabytes(variant['peak_bytes']), agreement(variant)])
    return table(head, rows)


def memory_over_steps(cases: list[dict]) -> list[tuple[str, str]]:
    """Saved bytes of each variant at each L, over those at the smallest L; nothing where there is one L only."""
    steps = sorted({case['num_steps'] for case in cases if case['num_steps']})
    saved = {}
    for case in cases:
        for variant in case['variants']:
            if variant['saved_bytes'] is not None:
                saved.setdefault((case['title'], variant['label']), {})[case['num_steps']] = variant['saved_bytes']
    if len(steps) < 2 or not saved:
        return []
    rows = []
    for (title, label), by_steps in saved.items():
        base = by_steps.get(steps[0])
        cells = [megabytes(by_steps.get(count)) for count in steps]
        ratios = [number(by_steps[count] / base) if base and count in by_steps else '–' for count in steps[1:]]
        rows.append([title, label, *cells, *ratios])
    head = ['', 'variant', *(f'L = {count}' for count in steps), *(f'{count} over {steps[0]}' for count in steps[1:])]
    return [('Saved for the backward pass, MB', table(head, rows))]


def agreement(variant: dict) -> str:
    if variant['error']:
        return f'**failed**: {variant["error"]}'
    if variant['difference'] is None:
        return '–'
    return f'{variant["difference"]:.1e} ({variant["worst"]})'


def spread(pair: list[float] | None) -> str:
    return '–' if pair is None else f'{number(pair[0])} to {number(pair[1])}'


def ratio_text(ratio: dict | None) -> str:
    """Median and quartiles of a ratio."""
    return '–' if ratio is None else f'{number(ratio["median"])} ({spread(ratio["quartiles"])})'


def megabytes(count: int | None) -> str:
    return '–' if count is None else number(count / MEGABYTE)
