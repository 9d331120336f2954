"""The table of GPUs: what it lets Triton compute, what the committed one holds, and who is asked on a GPU."""
import json

import pytest
import torch

from mobileode_mm.ode import ChannelwiseODESolver
from mobileode_mm.ode.backends import gpus, triton_blocks

ENTRY = dict(device='a GPU', machine='a machine', commit='abc', kernels=gpus.checksum(), is_correct=True,
             over_operators={'infer float16': 0.5, 'train float16': 1.25},
             blocks={'infer': {'half 16x32': {'BLOCK': 32, 'num_warps': 2}}})


def test_the_committed_table():
    """Whatever it holds can be used, and is of a GPU that ran the kernels right."""
    entries = json.loads(gpus.TABLE.read_text())
    for name, entry in entries.items():
        assert name.startswith(('sm_', 'gfx')) and entry.keys() == ENTRY.keys()
        assert entry['is_correct'] is True
        for kernel, choices in entry['blocks'].items():
            assert kernel in triton_blocks.TUNED
            for choice in choices.values():
                assert choice.keys() <= {'BLOCK', 'num_warps', 'num_stages', 'programs'}
                assert all(value & (value - 1) == 0 for value in choice.values())


@pytest.mark.parametrize('change, call, reason', [
    ({}, 'infer float16', None),
    ({}, 'train float16', r"train float16 takes 1.25 of the time of torch's operators on sm_90"),
    ({}, 'infer float32', 'infer float32 has not been measured on sm_90'),
    (dict(is_correct=False), 'infer float16', 'wrong numbers on sm_90'),
    (dict(kernels='0' * 12), 'infer float16', 'the kernels are others than those that sm_90 ran'),
])
def test_what_an_entry_lets_triton_compute(change, call, reason):
    found = gpus.against_entry('sm_90', call, {'sm_90': {**ENTRY, **change}})
    assert found is None if reason is None else reason in found


def test_an_architecture_that_is_not_in_the_table():
    assert gpus.against_entry('sm_75', 'infer float16', {'sm_90': ENTRY}) == (
        'sm_75 has not run the kernels yet; measured are sm_90')
    assert gpus.kind_of_call(True, torch.bfloat16) == 'train bfloat16'


def test_a_layer_asks_the_table_on_a_gpu_alone():
    layer = ChannelwiseODESolver(64, 64, 2, 3)
    assert layer.backend_for(torch.randn(2, 64, 3, 3).bfloat16()) == ('operators', 'cpu: x is torch.bfloat16')
    reason = gpus.against_all()
    assert (layer.candidates_on_gpu, layer.never_on_gpu) == (
        (('operators', ), f'triton: {reason}') if reason else (('triton', 'operators'), ''))
    for backend in ('operators', 'reference'):
        layer.backend = backend
        assert (layer.candidates_on_gpu, layer.never_on_gpu) == ((backend, ), '')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU is here')
def test_on_a_gpu_the_layer_and_the_doctor_say_the_same():
    layer = ChannelwiseODESolver(64, 64, 2, 3).cuda()
    x = torch.randn(2, 64, 3, 3, device='cuda')
    name, reason = layer.backend_for(x)
    assert (name == 'triton') == (reason == '')
    compiled = torch.compile(layer, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    assert ('Triton for' in gpus.describe()) or "torch's operators: " in gpus.describe()


def test_blocks_come_from_a_trial_then_the_table_then_the_rule(monkeypatch):
    def chosen(architecture):
        return triton_blocks.chosen('infer', torch.float16, 12, 24, architecture=architecture)

    monkeypatch.setattr(gpus, 'table', lambda: {'sm_90': ENTRY})
    assert chosen('sm_80') == {'BLOCK': 128, 'num_warps': 4}
    assert chosen('sm_90') == {'BLOCK': 32, 'num_warps': 2}
    assert triton_blocks.chosen('infer', torch.float32, 12, 24, architecture='sm_90')['BLOCK'] == 128
    monkeypatch.setitem(triton_blocks.TRIED, 'infer', {'BLOCK': 64, 'num_warps': 8})
    assert chosen('sm_90') == {'BLOCK': 64, 'num_warps': 8}


@pytest.mark.parametrize('side, columns', [(2, 16), (16, 16), (17, 32), (33, 64), (64, 64)])
def test_padding(side, columns):
    assert triton_blocks.padded(side) == columns


def test_a_batch_in_one_tile():
    assert triton_blocks.resident_rows(1, 3) == 16
    assert triton_blocks.resident_rows(32, 12) == 512
    assert triton_blocks.resident_rows(64, 12) == 0


def test_the_compiler_takes_the_answer_as_a_constant(monkeypatch):
    monkeypatch.setattr(gpus, 'table', lambda: {'sm_90': ENTRY})
    monkeypatch.setattr(gpus, 'architecture', lambda index: 'sm_90')

    def sign(x, is_training):
        return x if gpus.against(0, is_training, x.dtype) is None else -x

    compiled = torch.compile(sign, backend='eager', fullgraph=True)
    x = torch.ones(2, dtype=torch.float16)
    assert compiled(x, False).tolist() == [1, 1] and compiled(x, True).tolist() == [-1, -1]
