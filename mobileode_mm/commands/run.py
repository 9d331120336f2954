"""``mobileode run``."""
import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = 'Run a file of `mobileode export`, of any format; prints a JSON line for each image.'
    parser.add_argument('file', metavar='FILE', help='the file; what lies beside it belongs there')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files; one that cannot be used is skipped')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='SCORE',
                        help='leave out boxes under this score (default: 0.3)')
    parser.add_argument('--masks', metavar='FOLDER',
                        help='write the masks of a segmentor there, as PNG; a folder that holds anything is left alone')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='of the runtime (default: as many as it likes)')
    parser.add_argument('--custom-ops', metavar='LIB',
                        help='library of the operators of a .ops.onnx or .ops.xml file (.ops.so)')


def run(args: argparse.Namespace) -> int:
    """Predict; returns the exit status: 1 where images were skipped."""
    from ..deploy.running import run_file
    return run_file(args.file, args.images, args.score_thr, args.masks, args.threads, args.custom_ops)
