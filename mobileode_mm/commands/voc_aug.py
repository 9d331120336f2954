"""``mobileode voc-aug``."""
import argparse

from ..data.voc import LISTS, MASKS_AUG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ("Add the Semantic Boundaries Dataset to Pascal VOC 2012, as mmseg's pascal_voc12_aug.py "
                          f'reads it: VOC2012/{MASKS_AUG}/*.png and VOC2012/{LISTS}/{{aug,trainaug}}.txt. Nothing that '
                          'exists is changed; a run that broke off is continued.')
    parser.add_argument('voc', metavar='VOC', help='folder VOCdevkit/VOC2012')
    parser.add_argument('sbd', metavar='SBD', help='folder benchmark_RELEASE')
    parser.add_argument('--subset', action='store_true',
                        help='take a part of the sets: lists of other lengths than the published ones')
    parser.set_defaults(stopped='stopped; the same command goes on from here')


def run(args: argparse.Namespace) -> None:
    """Write masks and lists."""
    from ..data.console import progress_line
    from ..data.voc_aug import convert_voc_aug
    done = convert_voc_aug(args.voc, args.sbd, args.subset, progress_line('mask'))
    print(f'aug {done["aug"]}, trainaug {done["trainaug"]} images; masks: {done["written"]} written, '
          f'{done["kept"]} were there')
