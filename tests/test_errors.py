"""How bad input is reported."""
import pytest
import torch

from mobileode_mm.errors import BAD_INPUT, INTERRUPTED, InputError, exit_status, listed


def raising(error):
    def command():
        raise error
    return command


@pytest.mark.parametrize('command, status, reported', [
    (lambda: None, 0, ''), (lambda: 0, 0, ''), (lambda: 3, 3, ''),
    (raising(InputError('no folder x; make it')), BAD_INPUT, 'error: no folder x; make it\n'),
    (raising(KeyboardInterrupt()), INTERRUPTED, 'stopped half-way\n'),
])
def test_exit_status(command, status, reported, capsys):
    assert exit_status(command, 'stopped half-way') == status
    out, err = capsys.readouterr()
    assert (out, err) == ('', reported)


@pytest.mark.parametrize('command, reported', [
    (lambda: torch.empty(2**52), f'the machine has no memory left for {2**54} bytes more. Smaller batches'),
    (raising(torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of')),
     'the GPU has no memory left for 2.00 GiB more. Smaller batches'),
    (raising(RuntimeError('CUDA error: out of memory')), 'the GPU has no memory left. Smaller batches'),
    (raising(MemoryError()), 'the machine has no memory left. Smaller batches')])
def test_memory_that_runs_out(command, reported, capsys):
    assert exit_status(command) == BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith(f'error: {reported}') and 'batch_size' in err and err.count('\n') == 1


def test_a_fault_of_the_program_is_no_bad_input():
    with pytest.raises(ZeroDivisionError):
        exit_status(raising(ZeroDivisionError()))


@pytest.mark.parametrize('names, text', [
    ([], ''), (['a'], 'a'), (['a', 2, 'c'], 'a, 2, c'), (('a', 'b', 'c', 'd', 'e'), 'a, b, c and 2 more'),
    ({'a': 1, 'b': 2}, 'a, b'), (['a ', 'a b'], "'a ', a b"), ((name for name in 'abcd'), 'a, b, c and 1 more')])
def test_listed(names, text):
    assert listed(names, most=3) == text
