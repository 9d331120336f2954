"""``mobileode export``."""
import argparse
import shlex

from .options import add_reading_options, add_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = 'Write a trained network into a file for other programs.'
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a training, or a published file')
    parser.add_argument('--format', default='onnx',
                        help='onnx, torchscript, exported-program, openvino, ncnn, litert, executorch, or '
                        'web: a folder with a page that runs the network in a browser (default: onnx)')
    parser.add_argument('--out', required=True, metavar='FILE',
                        help='the file to write, or the folder of --format web; one that exists is left alone')
    parser.add_argument('--with-nms', action='store_true',
                        help='detectors in ONNX and OpenVINO: the best boxes after suppression, not all of them')
    parser.add_argument('--dynamic', default='none',
                        help='what may differ from call to call: none, batch, size, both (default: none)')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'),
                        help="of the images (default: the test pipeline's)")
    parser.add_argument('--int8', nargs='?', const='speed', metavar='speed|size',
                        help='also write FILE with the suffix .int8.onnx, calibrated on the training data: with those '
                        'operators in int8 that are faster so on this processor (speed, the default), or with all '
                        'products (size)')
    parser.add_argument('--custom-ops', action='store_true',
                        help='ONNX and OpenVINO: also write FILE with the suffixes .ops.onnx or .ops.xml, and .ops.so: '
                        'the network with our kernel as one node a solver, and the kernel for the runtime on this '
                        "machine's processor")
    parser.add_argument('--web-runtime', metavar='PACKAGE',
                        help='for --format web without a network: the npm package onnxruntime-web, its .tgz or folder')
    add_steps(parser)
    parser.add_argument('--max-drop', type=float, metavar='POINTS',
                        help='of a network with anytime, in ONNX: find the fastest steps, stage by stage, that lose at '
                        'most so many points of the metric on the validation data, and write these')
    add_reading_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write the file and print how it compares with the network."""
    from ..deploy import parity
    from ..deploy.exporting import export
    from ..deploy.formats import FORMATS
    exported = export(args.config, args.checkpoint, args.out, args.format, args.with_nms, args.dynamic, args.size,
                      args.int8, args.trust_checkpoint, args.cfg_options, args.custom_ops, args.web_runtime,
                      args.steps, args.max_drop)
    print(parity.table(exported.rows), *exported.lines, sep='\n')
    if args.format == 'web':
        size = sum(path.stat().st_size for path in exported.path.rglob('*') if path.is_file())
        print(f'{exported.path}: {size:,} bytes')
        print(f'python -m http.server --directory {shlex.quote(str(exported.path))} serves it')
        return
    for path in FORMATS[args.format].files(exported.path):
        print(f'{path}: {path.stat().st_size:,} bytes')
