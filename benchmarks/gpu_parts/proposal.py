"""What the parts come to: the aims, and the line of this GPU in the table that the solver reads."""
from statistics import geometric_mean

from mobileode_mm.ode.backends import gpus

from ..output import number
from . import layers, tuning

TABLE = gpus.TABLE


def aims(found: dict[str, dict]) -> list[list[str]]:
    """What is wanted, how much of it, and what was measured; a dash where nothing was.

    Args:
        found: Results by part.
    """
    rows = found.get('layers', {}).get('rows', [])

    def over_copy(mode: str) -> str:
        ratios = [row['over_copy']['cos:triton/graph'] for row in rows
                  if row.get('call') == f'{mode} float16' and row.get('batch') == 32
                  and 'cos:triton/graph' in row.get('over_copy', {})]
        return f'{number(geometric_mean(ratios))}, at most {number(max(ratios))}' if ratios else '–'

    step = next((variant.get('ratio') for row in found.get('models', {}).get('rows', [])
                 if row['case'] == 'detector, train, float16 (amp), batch 32, eager'
                 for variant in row.get('variants', []) if variant['label'] == 'ssdlite_mobileode:triton/eager'), None)
    return [['solver over a copy of as many bytes, inference, float16, batch 32', '1.5', over_copy('infer')],
            ['the same in training', '3', over_copy('train')],
            ["training step of SSDLite with MobileODE V1 over MobileNetV2's, --amp, batch 32", '0.9', number(step)]]


def propose(found: dict[str, dict]) -> dict[str, dict] | None:
    """The table of GPUs with the line of the one that gave these results; None where not all of ``parity`` has run.

    Args:
        found: Results by part, of one GPU.
    """
    parity = found.get('parity')
    if parity is None or not parity['is_complete']:
        return None
    proofs = [parity, *([found['sanitizer']] if 'sanitizer' in found else [])]
    blocks: dict[str, dict] = {kernel: dict(choices) for kernel, choices in gpus.blocks(parity['architecture']).items()}
    for row in found.get('tuning', {}).get('rows', []):
        if row['error'] is None and row.get('ratio', 1) < tuning.GAIN:
            blocks.setdefault(row['kernel'], {})[row['key']] = row['best']
    entry = dict(
        device=parity['device'], machine=parity['machine'], commit=parity['commit'], kernels=parity['kernels'],
        is_correct=all(row['error'] is None for proof in proofs for row in proof['rows']),
        over_operators=layers.over_operators(found.get('layers', {}).get('rows', [])), blocks=blocks)
    return {**gpus.table(), parity['architecture']: entry}
