"""What the Triton kernels take of every GPU that they are compiled for, without one: registers, spills, shared memory.

``python -m benchmarks.gpu_parts.compiled`` prints the table, ``--docs`` also writes it into docs/gpu.md.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mobileode_mm.doctor import version_of
from mobileode_mm.errors import exit_status
from mobileode_mm.ode.backends import triton_blocks, triton_kernels, triton_operators
from mobileode_mm.ode.backends.triton_blocks import padded

from .. import ROOT
from ..output import markdown, put_into_page

#: Shared memory that a block can have, bytes, by architecture (CUDA's and ROCm's programming guides).
SHARED_MEMORY = {'sm_75': 65536, 'sm_80': 166912, 'sm_86': 101376, 'sm_90': 232448, 'sm_100': 232448, 'sm_120': 101376,
                 'gfx942': 65536}
ARCHITECTURES = tuple(SHARED_MEMORY)
#: Kernels, and their variants that do different work.
KERNELS = {
    'infer': ('infer', {'BY_POSITION': True}),
    'position_forward_resident': ('position_forward_resident', {}),
    'position_forward_streamed': ('position_forward_streamed', {}),
    'position_backward': ('position_backward', {}),
    'channel_forward': ('channel_forward', {'FIRST': False, 'FROM_X': False, 'LAST': False}),
    'channel_states': ('channel_states', {}),
    'channel_backward, sums': ('channel_backward', {'APPLY': False}),
    'channel_backward, gradients': ('channel_backward', {'APPLY': True}),
}
#: p and q of the layers in the table: most of MobileODE V1's, and the widest of V2's.
SIDES = ((24, 24), (32, 64))
TYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
#: Turing multiplies no bfloat16.
WITHOUT = {('sm_75', 'bfloat16')}
_STORED = ('x', 'y', 'x_grad', 'y_grad')
_INTEGERS = ('batch', 'area', 'num_steps', 'spacing', 'slots', 'total', 'step', 'total_rows')
_NUMBERS = ('eps', 'count')
#: Of the tables' place on the page.
MARK = 'compiled'


class Use(NamedTuple):
    """What a kernel takes of an architecture.

    Attributes:
        registers: Of a thread.
        spilled: Bytes of a thread that lie in memory for want of registers.
        shared: Bytes of shared memory of a block.
    """
    registers: int
    spilled: int
    shared: int


def compile_kernel(name: str, architecture: str, dtype: torch.dtype, side_in: int, side: int) -> Use:
    """Compile one of :data:`KERNELS` to machine code, as it is launched on that architecture, and look at it.

    Args:
        name: Key of :data:`KERNELS`.
        architecture: One of :data:`ARCHITECTURES`.
        dtype: What x is stored in.
        side_in, side: p and q.
    """
    kernel_name, flags = KERNELS[name]
    kernel = getattr(triton_kernels, kernel_name)
    rows = triton_blocks.RESIDENT_TILE // padded(side)
    blocks = triton_blocks.chosen(kernel_name, dtype, side_in, side, rows, architecture)
    blocks.pop('programs', None)
    stored = triton_operators.DTYPES[dtype]
    constants = {'P': side_in, 'PB': padded(side_in), 'Q': side, 'QB': padded(side), 'BLOCK': blocks.pop('BLOCK', None),
                 'ROUND': stored, 'DOT': stored, **flags}
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
    pointer = {torch.float32: '*fp32', torch.float16: '*fp16', torch.bfloat16: '*bf16'}[dtype]
    kinds = {**dict.fromkeys(_STORED, pointer), **dict.fromkeys(_INTEGERS, 'i32'), **dict.fromkeys(_NUMBERS, 'fp32'),
             **dict.fromkeys(constants, 'constexpr')}
    signature = {argument: kinds.get(argument, '*fp32') for argument in kernel.arg_names}
    # Torch's tensors begin at multiples of 16 bytes and more, which the launcher tells the compiler.
    aligned = {(index, ): [['tt.divisibility', 16]] for index, kind in enumerate(signature.values()) if kind[0] == '*'}
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=_target(architecture), options=blocks)
    if architecture.startswith('gfx'):
        counts = {key: int(value) for key, value in re.findall(r'\.(\w+_count):\s+(\d+)', compiled.asm['amdgcn'])}
        return Use(counts['vgpr_count'], 4 * counts['vgpr_spill_count'], compiled.metadata.shared)
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(compiled.asm['cubin'])
        file.flush()
        said = subprocess.run([triton.knobs.nvidia.cuobjdump.path, '-res-usage', file.name], capture_output=True,
                              text=True, check=True).stdout
    counts = {key: int(value) for key, value in re.findall(r'(REG|STACK|LOCAL):(\d+)', said)}
    return Use(counts['REG'], counts['STACK'] + counts['LOCAL'], compiled.metadata.shared)


def _target(architecture: str) -> GPUTarget:
    if architecture.startswith('gfx'):
        return GPUTarget('hip', architecture, 64)
    return GPUTarget('cuda', int(architecture.removeprefix('sm_')), 32)


def _attempt(arguments: tuple) -> Use | str:
    name, architecture, dtype, side_in, side = arguments
    if (architecture, dtype) in WITHOUT:
        return 'none'
    try:
        return compile_kernel(name, architecture, TYPES[dtype], side_in, side)
    except Exception as error:  # the table says which do not compile
        print(f'{name}, {architecture}, {dtype}, {side_in}→{side}: {error}', file=sys.stderr)
        return f'**{type(error).__name__}**'


def measure(architectures: list[str], types: list[str], jobs: int) -> list[str | dict]:
    """Paragraphs and tables: one for each pair of sides."""
    parts: list[str | dict] = [f'Triton {version_of("triton")}; of each kernel registers · bytes spilled, both a '
                               'thread · KiB of shared memory a block.']
    for side_in, side in SIDES:
        rows = [(name, dtype) for name in KERNELS for dtype in types]
        cases = [(name, architecture, dtype, side_in, side) for name, dtype in rows for architecture in architectures]
        with ProcessPoolExecutor(jobs) as pool:
            uses = dict(zip(cases, pool.map(_attempt, cases)))
        lines = []
        for name, dtype in rows:
            found = [uses[name, architecture, dtype, side_in, side] for architecture in architectures]
            lines.append([name, dtype, *(f'{use.registers} · {use.spilled} · {use.shared / 1024:.1f}'
                                         if isinstance(use, Use) else use for use in found)])
        parts += [f'p = {side_in}, q = {side} ({side_in ** 2} channels to {side ** 2}):',
                  dict(head=['kernel', 'type', *architectures], rows=lines)]
    return parts


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--architectures', nargs='+', choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument('--types', nargs='+', choices=TYPES, default=list(TYPES))
    parser.add_argument('--jobs', type=int, default=1, help='processes that compile (default: 1)')
    parser.add_argument('--docs', action='store_true', help='write the tables into docs/gpu.md; for all of both alone')
    args = parser.parse_args(argv)
    if args.docs and (len(args.architectures), len(args.types)) != (len(ARCHITECTURES), len(TYPES)):
        parser.error('--docs writes the whole table: leave out --architectures and --types')

    def work() -> None:
        results = measure(args.architectures, args.types, args.jobs)
        text = markdown(results)
        print(text)
        if args.docs:
            put_into_page(ROOT / 'docs' / 'gpu.md', MARK, results, text)

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
