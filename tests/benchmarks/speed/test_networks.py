"""Whole networks timed in turn: each gets a time, in PyTorch and of its file."""
from pathlib import Path

import torch

from benchmarks.speed.networks import time_networks
from mobileode_mm.runs.config import load_config

CONFIGS = Path(__file__).parents[3] / 'configs'


def test_networks_of_two_toolboxes_in_turn():
    networks = {name: (load_config(CONFIGS / f'{name}.py'), size)
                for name, size in (('classify_mobileode_mini', (32, 32)), ('ssdlite_mobileode_mini', (64, 96)))}
    times = time_networks(networks, torch.device('cpu'), 2)
    assert list(times) == list(networks)
    assert all(value > 0 for taken in times.values() for value in taken.values())


def test_a_network_that_cannot_be_exported_has_no_time_of_a_file(monkeypatch):
    from mobileode_mm.deploy import formats
    from mobileode_mm.errors import InputError

    def absent(*args):
        raise InputError('onnx is not installed')

    monkeypatch.setattr(formats, 'needed', absent)
    networks = {'one': (load_config(CONFIGS / 'classify_mobileode_mini.py'), (32, 32))}
    taken = time_networks(networks, torch.device('cpu'), 1)['one']
    assert taken['onnx_milliseconds'] is None and taken['milliseconds'] > 0
