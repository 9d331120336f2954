"""Flags that several commands have."""
import argparse
import ast
import os
import re

from mmengine.config import DictAction

#: As in :mod:`mobileode_mm.runs.options`, which needs torch.
NEW = '+'


class Options(DictAction):
    """MMEngine's KEY=VALUE pairs, and besides: dicts, as in Python, and words with spaces as they are.

    What cannot be read is an error of usage, not a traceback.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            key, equals, value = pair.partition('=')
            if not equals:
                parser.error(f'argument {option_string}: {pair!r} is not of the form KEY=VALUE')
            has_dict = re.search(r'\{|\bdict\(', value)
            try:
                if has_dict or ' ' in value and not re.search(r'[][(),]', value):
                    options = dict(getattr(namespace, self.dest) or {})
                    options[key] = _literal(value) if has_dict else value.strip('\'"')
                    setattr(namespace, self.dest, options)
                else:
                    super().__call__(parser, namespace, [pair], option_string)
            except (AssertionError, RecursionError, SyntaxError, ValueError):
                parser.error(f'argument {option_string}: the value of {pair!r} cannot be read: lists are written '
                             "[a,b], dicts as in Python, {'a': 1} or dict(a=1), with words in quotes")


def _literal(text: str) -> object:
    """The value of a Python literal, in which ``dict(a=1)`` is one too.

    Raises:
        SyntaxError, ValueError: It is none.
    """
    class Dicts(ast.NodeTransformer):

        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
                return node
            return ast.Dict([ast.Constant(one.arg) if one.arg else None for one in node.keywords],
                            [one.value for one in node.keywords])

    return ast.literal_eval(Dicts().visit(ast.parse(text.strip(), mode='eval')))


class NewOptions(Options):
    """The same for keys that the config need not have."""

    def __call__(self, parser, namespace, values, option_string=None):
        super().__call__(parser, namespace, [f'{NEW}{pair}' for pair in values], option_string)


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags on how a config and a checkpoint are read: ``--cfg-options``, ``--cfg-new`` and
    ``--trust-checkpoint``."""
    add_config_options(parser)
    add_trust_option(parser)


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='read checkpoints that can run code when they are read')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` and ``--cfg-new``, which are read as ``args.cfg_options``."""
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='replace settings of the config, as in data_root=/data/coco train_cfg.max_epochs=3 '
                        'key="[a,b]" key="dict(a=1)"; a key that nothing reads is refused')
    parser.add_argument('--cfg-new', nargs='+', action=NewOptions, dest='cfg_options', metavar='KEY=VALUE',
                        help='the same for keys that the config does not have')


def add_no_deploy(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-deploy``, which is read as ``args.deploy``."""
    parser.add_argument('--no-deploy', dest='deploy', action='store_false',
                        help='run the network as it was trained, not in its deploy form')


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Add ``--steps``, which is read as a number or a tuple of numbers."""
    parser.add_argument('--steps', type=steps, metavar='K[,K...]',
                        help="steps of the solvers, of those that a network with anytime was trained for: one number, "
                        "or one for each stage with solvers (default: the config's anytime.take, else the largest)")


def steps(text: str) -> int | tuple[int, ...]:
    """The value of ``--steps``."""
    try:
        numbers = tuple(map(int, text.split(',')))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: a whole number is wanted, or several with commas between them'
                                         ) from None
    return numbers if len(numbers) > 1 else numbers[0]


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of runs on several processes: ``--launcher``, and ``--local_rank`` of older launchers."""
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='who started the processes (default: none)')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def use_local_rank(args: argparse.Namespace) -> None:
    """Set ``LOCAL_RANK`` where the launcher gave a flag instead."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
