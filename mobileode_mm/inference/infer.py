"""Inference on files, folders, videos and cameras; the command ``tools/infer.py``."""
import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from ..cli import add_reading_options
from ..errors import InputError, exit_status
from ..memory import keep_freed_memory
from ..runs.checks import check_new, check_writable
from .inferencer import Inferencer
from .sources import Frame, Source, find_sources, read_frames
from .writers import Writer

#: Exit status where some of the inputs could not be read.
SKIPPED = 1


class Summary(NamedTuple):
    """What an inference has done.

    Attributes:
        result: The JSON file.
        frames: Pictures and frames that were looked at.
        skipped: Why, by the name of each input that could not be read.
    """
    result: Path
    frames: int
    skipped: dict[str, str]


def infer(config: str | Path, checkpoint: str | Path, inputs: Sequence[str | os.PathLike | int],
          out: str | Path = 'predictions', batch_size: int = 1, device: str | None = None, score_thr: float = 0.3,
          trust: bool = False, cfg_options: dict | None = None) -> Summary:
    """Predict on pictures and videos, and write what is found into a folder.

    Args:
        config: Config file of a detector, segmentor or classifier.
        checkpoint: Its weights; those of another network are refused.
        inputs: Pictures, folders, patterns, videos, indices of cameras, http(s) URLs of pictures. A camera is looked
            at until the user interrupts.
        out: Folder for the result, which must not exist, or be empty: see :class:`Writer`.
        batch_size: Pictures or frames at a time.
        device: As ``torch.device`` takes it; by default the GPU where there is one.
        score_thr: Boxes under this score are left out.
        trust: Read a checkpoint that can run code when it is read.
        cfg_options: Dotted config keys and values that replace the file's.

    Raises:
        InputError: Something given cannot be used. A picture that cannot be read is no error: it is named, left
            out, and in the summary.
    """
    if batch_size < 1:
        raise InputError(f'--batch-size {batch_size}: a whole number of at least 1 is wanted')
    if not 0 <= score_thr <= 1:
        raise InputError(f'--score-thr {score_thr}: a number from 0 to 1 is wanted')
    out = Path(out).expanduser()
    check_new(str(out), '--out')
    check_writable(str(out), 'folder', '--out')
    skipped = {}
    with ExitStack() as stack:
        sources = find_sources(inputs, stack)
        inferencer = Inferencer(config, checkpoint, device, trust, cfg_options)
        console = Console(stderr=True)
        for note in inferencer.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        writer = Writer(out, inferencer, score_thr)
        progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
        task = progress.add_task('inference', total=None if any(source.moving for source in sources) else len(sources))
        frames = 0

        def skip(source: Source, fault: str) -> None:
            skipped[source.name] = fault
            progress.console.print(f'skipped: {source.name} {fault}', markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)

        try:
            for batch in _batches(read_frames(sources, inferencer.read, skip), batch_size):
                for frame, found in zip(batch, inferencer.predict([frame.pixels for frame in batch])):
                    writer.add(frame, found)
                    frames += 1
                    progress.advance(task)
        except BaseException:
            if frames:
                writer.close()  # what was found before an interrupt is kept
            raise
    return Summary(writer.close(), frames, skipped)


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 where some inputs could not be read."""
    parser = argparse.ArgumentParser('mobileode-infer', description='Detect, segment or classify what is on pictures.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a training, or a published file')
    parser.add_argument('inputs', nargs='+', metavar='INPUT',
                        help='picture, folder, "pattern*", video, index of a camera, or http(s) URL of a picture')
    parser.add_argument('--out', default='predictions', metavar='FOLDER',
                        help='folder for drawn pictures, masks and predictions.json (default: ./predictions); one that '
                        'holds anything is left alone')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='pictures at a time (default: 1)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: the GPU where there is one)')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='SCORE',
                        help='leave out boxes under this score (default: 0.3)')
    add_reading_options(parser)
    args = parser.parse_args(argv)
    keep_freed_memory()

    def run() -> int:
        summary = infer(args.config, args.checkpoint, args.inputs, args.out, args.batch_size, args.device,
                        args.score_thr, args.trust_checkpoint, args.cfg_options)
        print(f'{summary.frames} pictures, {len(summary.skipped)} inputs skipped: {summary.result}', file=sys.stderr)
        return SKIPPED if summary.skipped else 0

    return exit_status(run)
