"""The Triton kernels compiled for GPUs that are not here: that they compile, and what they take of the architecture."""
import pytest
import torch

pytest.importorskip('triton')
from benchmarks.gpu_parts.compiled import (  # noqa: E402 (it needs Triton)
    ARCHITECTURES,
    KERNELS,
    MARK,
    SHARED_MEMORY,
    SIDES,
    TYPES,
    WITHOUT,
    compile_kernel,
    main,
)
from benchmarks.output import put_into_page  # noqa: E402

#: Bytes that a thread may spill where the kernels are made for the architecture.
SPILLED = 100


@pytest.mark.parametrize('name', KERNELS)
def test_half_precision_on_a100(name):
    """By ptxas to machine code, with a resize; next to nothing has to lie in memory."""
    use = compile_kernel(name, 'sm_80', torch.float16, 12, 24)
    assert 0 < use.registers <= 255
    assert use.spilled <= SPILLED
    assert 0 < use.shared <= SHARED_MEMORY['sm_80']


@pytest.mark.slow
@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('name', KERNELS)
def test_every_architecture(name, architecture):
    """Turing, AMD and sides over 32 are known to spill (docs/gpu.md); the limit is of the others."""
    for dtype in TYPES:
        for side_in, side in SIDES:
            if (architecture, dtype) in WITHOUT:
                continue
            use = compile_kernel(name, architecture, TYPES[dtype], side_in, side)
            assert use.registers > 0 and use.shared <= SHARED_MEMORY[architecture]
            if side <= 32 and architecture not in ('sm_75', 'gfx942'):
                assert use.spilled <= SPILLED, (dtype, side_in, side)


def test_the_table_goes_between_its_marks(tmp_path):
    page = tmp_path / 'gpu.md'
    page.write_text('before\n<!-- compiled: begin -->\nold\n<!-- compiled: end -->\nafter\n')
    put_into_page(page, MARK, ['new'], 'new')
    assert page.read_text() == 'before\n<!-- compiled: begin -->\nnew\n<!-- compiled: end -->\nafter\n'


def test_a_part_of_the_table_is_not_for_the_page():
    with pytest.raises(SystemExit) as stopped:
        main(['--docs', '--types', 'float16'])
    assert stopped.value.code == 2
