"""The one command line: ``mobileode COMMAND``, and ``python -m mobileode_mm COMMAND``.

A command is a module with ``add_arguments(parser)`` and ``run(args)``. It is imported when the command is called, and
what does the work when it runs: the list of commands, the help of each, and ``mobileode doctor`` need no torch.
"""
import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from .errors import BAD_INPUT, exit_status
from .interrupts import watched
from .memory import keep_freed_memory
from .users import settle_user
from .version import __version__


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: Has ``add_arguments(parser)`` and ``run(args) -> int | None``, the exit status.
        help: One line.
        runs_networks: Whether freed memory is kept for the next step.
    """
    module: str
    help: str
    runs_networks: bool = False


GROUPS = {
    'Train and test': {
        'fit': Command('mobileode_mm.commands.fit', 'train on a folder of labelled images, and write a report', True),
        'train': Command('mobileode_mm.commands.train', 'train a detector, a segmentor or a classifier', True),
        'test': Command('mobileode_mm.commands.test', 'evaluate a checkpoint on the test data', True),
    },
    'Use': {
        'infer': Command('mobileode_mm.commands.infer', 'detect, segment or classify what is on images', True),
        'publish': Command('mobileode_mm.commands.publish', 'write weights to pass on, with a card'),
        'export': Command('mobileode_mm.commands.export', 'write a file for other programs: ONNX, OpenVINO, ncnn ...'),
        'run': Command('mobileode_mm.commands.run', 'run such a file on images'),
        'convert': Command('mobileode_mm.commands.convert', 'convert weights of the released program'),
    },
    'Data': {
        'mini-data': Command('mobileode_mm.commands.mini_data', 'make the mini data; nothing is downloaded'),
        'tree-data': Command('mobileode_mm.commands.tree_data', 'make data of aerial photographs of trees; 20 MB'),
        'verify': Command('mobileode_mm.commands.verify', 'report what is wrong with data: of a config, or a folder'),
        'voc-aug': Command('mobileode_mm.commands.voc_aug', 'add the Semantic Boundaries Dataset to Pascal VOC 2012'),
    },
    'Measure (from a checkout)': {
        'suite': Command('benchmarks.suites.execution', 'train and evaluate every network of a suite'),
        'bench': Command('benchmarks.speed.files', 'measure trained networks in every runtime', True),
        'bench-torch': Command('benchmarks.speed.compare', 'measure layers or networks side by side in PyTorch', True),
        'bench-operators': Command('benchmarks.speed.operators', 'time ONNX files by kind of operator'),
        'bench-layouts': Command('benchmarks.speed.layouts', "time both forms of a file's solver in onnxruntime"),
        'gpu': Command('benchmarks.gpu', 'prove, measure and tune the kernels and networks on a GPU', True),
        'profile': Command('benchmarks.speed.floors', 'time every part of a network beside its floor', True),
        'flops': Command('benchmarks.complexity.flops', 'count parameters, multiply-adds, FLOPs and activations'),
        'claims': Command('benchmarks.complexity.claims', "check the paper's claims that need no training"),
        'norms': Command('benchmarks.studies.norms', "compare the solvers' norms on segmentation"),
        'fits': Command('benchmarks.studies.fits', 'fit several networks to one folder of images, and compare them'),
        'look-inside': Command('benchmarks.studies.look_inside', 'draw step lengths, trajectories or feature maps'),
    },
    'Help': {
        'doctor': Command('mobileode_mm.commands.doctor', 'what is installed, what is wrong with it, and the fix'),
    },
}
#: Earlier names of commands.
ALIASES = {'verify-data': 'verify', 'bench-files': 'bench'}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        argv: The command's name and its arguments; by default those of this process.
    """
    argv = sys.argv[1:] if argv is None else argv
    with watched():
        return exit_status(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ('-h', '--help'):
        print(_overview())
        return 0
    if argv[0] == '--version':
        print(f'mobileode_mm {__version__}')
        return 0
    name, *rest = argv
    if name in ALIASES:
        print(f'{name}: now "mobileode {ALIASES[name]}"', file=sys.stderr)
        name = ALIASES[name]
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS)
        hint = f'; nearest names: {", ".join(nearest)}' if nearest else ''
        return _refuse(f'there is no command {name}{hint}; `mobileode --help` lists all')
    command = COMMANDS[name]
    # Last, as modules of a config's custom_imports lie in the current folder but shall hide nothing.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    settle_user()
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if str(error.name).split('.')[0] != 'benchmarks':
            raise
        return _refuse(f'mobileode {name} runs from a checkout: clone the repository, and in it pip install -e .')
    parser = argparse.ArgumentParser(f'mobileode {name}', description=f'{command.help[0].upper()}{command.help[1:]}.')
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    if command.runs_networks:
        keep_freed_memory()
    return exit_status(lambda: module.run(args), parser.get_default('stopped') or 'stopped')


def old_name() -> int:
    """Run the command of an earlier name: ``mobileode-train`` is ``mobileode train``; returns the exit status."""
    name = Path(sys.argv[0]).stem
    command = name.removeprefix('mobileode-')
    command = ALIASES.get(command, command)
    print(f'{name}: now "mobileode {command}"', file=sys.stderr)
    return main([command, *sys.argv[1:]])


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = ['usage: mobileode COMMAND [arguments]', '', 'MobileODE networks for OpenMMLab. `mobileode COMMAND --help` '
             'lists the arguments of a command.']
    for title, commands in GROUPS.items():
        lines += ['', f'{title}:', *(f'  {name:<{width}}{command.help}' for name, command in commands.items())]
    return '\n'.join(lines)


def _refuse(message: str) -> int:
    print(f'error: {message}', file=sys.stderr)
    return BAD_INPUT
