"""Complexities as Markdown."""
from ..speed.report import table
from .network import Complexity
from .networks import TASKS, count_network, networks
from .operators import Cost

DEFINITIONS = '''\
MACs: multiply-adds of convolutions and matrix products. FLOPs: floating-point operations, two for each MAC and those of
everything else (norms, activations, sums, pooling, resizing). Activations: values that convolutions and matrix products
put out. One picture, eval mode, from the pixels to the heads' maps; parameters that this pass does not read (an
auxiliary head's) are left out.'''


def describe(name: str, complexity: Complexity, shape: tuple[int, int]) -> str:
    """All that is known of one network, by stage and by operator."""
    lines = [f'{name}, {shape[0]}×{shape[1]} px (height × width)', '',
             f'parameters: {complexity.parameters:,}', f'MACs: {complexity.cost.macs:,}',
             f'FLOPs: {complexity.cost.flops:,}', f'activations: {complexity.cost.activations:,}']
    lines += [f'parameters not read in inference: {number:,} in {part or "the model"}'
              for part, number in complexity.idle_parameters.items()]
    stages = [[stage.name or 'between', '×'.join(map(str, stage.output or '–')), f'{stage.parameters:,}',
               *_numbers(stage.cost)] for stage in complexity.stages]
    head = ['MACs', 'FLOPs', 'activations']
    lines += ['', table(['stage', 'output', 'parameters', *head], stages)]
    kinds = sorted(complexity.kinds.items(), key=lambda kind: -kind[1].flops)
    lines += ['', table(['operator', *head], [[kind, *_numbers(cost)] for kind, cost in kinds]), '', DEFINITIONS]
    if complexity.unknown:
        lines += ['', 'Not counted, for their cost is not known: ' + ', '.join(
            f'{operator} ({calls}×)' for operator, calls in complexity.unknown.items())]
    return '\n'.join(lines)


def tables() -> str:
    """MobileODE beside its peers, one table a task; a peer whose package is absent is named below them."""
    parts, left_out = [], []
    for task, (_, _, side, _) in TASKS.items():
        rows = []
        for network in networks():
            if task not in network.backbones:
                continue
            if not network.is_available:
                left_out.append(f'{network.name} ({task}): {network.needs} is not installed')
                continue
            complexity = count_network(network, task)
            backbone = [stage for stage in complexity.stages if stage.name.startswith('backbone')]
            cost = sum((stage.cost for stage in backbone), Cost())
            rows.append([
                network.name, _millions(sum(stage.parameters for stage in backbone), 3), _millions(cost.macs),
                _millions(complexity.parameters, 3), _millions(complexity.cost.macs),
                _millions(complexity.cost.flops), _millions(complexity.cost.activations)])
            left_out += [f'{network.name} ({task}): operators of unknown cost, {", ".join(complexity.unknown)}'
                         ] if complexity.unknown else []
        head = ['network', 'backbone: parameters', 'backbone: MACs', 'parameters', 'MACs', 'FLOPs', 'activations']
        parts += [f'### {task}, {side}×{side} px', '', 'In millions.', '', table(head, rows), '']
    parts += [DEFINITIONS, *(f'\nNot counted: {line}.' for line in left_out)]
    return '\n'.join(parts)


def _numbers(cost: Cost) -> list[str]:
    return [f'{number:,}' for number in (cost.macs, cost.flops, cost.activations)]


def _millions(number: int, digits: int = 1) -> str:
    return f'{number / 1e6:,.{digits}f}'
