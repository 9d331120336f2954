"""Inference on files, folders, videos and cameras."""
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from ..errors import InputError
from ..runs.checks import check_new, check_writable
from .inferencer import Inferencer
from .sources import Frame, Source, find_sources, read_frames
from .writers import Writer, printable


class Summary(NamedTuple):
    """What an inference has done.

    Attributes:
        result: The JSON file.
        frames: Images and frames that were looked at.
        skipped: Why, by the name of each input that could not be read.
    """
    result: Path
    frames: int
    skipped: dict[str, str]


def infer(config: str | Path, checkpoint: str | Path, inputs: Sequence[str | os.PathLike | int],
          out: str | Path = 'predictions', batch_size: int = 1, device: str | None = None, score_thr: float = 0.3,
          trust: bool = False, cfg_options: dict | None = None, deploy: bool = True,
          steps: int | Sequence[int] | None = None) -> Summary:
    """Predict on images and videos, and write what is found into a folder.

    Args:
        config: Config file of a detector, segmentor or classifier.
        checkpoint: Its weights; those of another network are refused.
        inputs: Images, folders, patterns, videos, indices of cameras, http(s) URLs of images. A camera is looked
            at until the user interrupts.
        out: Folder for the result, which must not exist, or be empty: see :class:`Writer`.
        batch_size: Images or frames at a time.
        device: As ``torch.device`` takes it; by default the GPU where there is one.
        score_thr: Boxes under this score are left out.
        trust: Read a checkpoint that can run code when it is read.
        cfg_options: Dotted config keys and values that replace the file's.
        deploy, steps: As for :class:`Inferencer`.

    Raises:
        InputError: Something given cannot be used. An image that cannot be read is no error: it is named, left
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
        inferencer = Inferencer(config, checkpoint, device, trust, cfg_options, deploy, steps)
        writer = Writer(out, inferencer, score_thr)
        console = Console(stderr=True)
        for note in filter(None, (*inferencer.notes, writer.note)):
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
        task = progress.add_task('inference', total=None if any(source.moving for source in sources) else len(sources))
        frames = 0

        def skip(source: Source, fault: str) -> None:
            skipped[source.name] = fault
            progress.console.print(f'skipped: {printable(source.name)} {fault}', markup=False, highlight=False,
                                   soft_wrap=True)
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
