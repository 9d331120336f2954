"""A progress bar on a terminal."""
import atexit
import logging
import sys
import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ..analysis.scalars import headline_metric

REFRESH_SECONDS = 0.1
BAR_WIDTH = 40  # columns at most


def _not_periodic(record: logging.LogRecord) -> bool:
    """Keep what is no line of LoggerHook about single iterations; those are what the bar shows."""
    return not (record.module == 'logger_hook' and record.funcName.endswith('_iter'))


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show the run as one line at the foot of the terminal: epoch, iteration, time left, loss, last metric.

    While the bar stands, log lines, ``print`` and warnings appear above it, and LoggerHook's lines about
    single iterations go to the log file only. Where the output is no terminal (a file, a pipe, a dumb
    terminal), and on every rank but 0, the hook does nothing.

    The bar goes away at the end of the run and at an uncaught exception. Code that catches the exception of a
    failed run and goes on calls :meth:`close`.
    """

    # After the hooks that record the iteration's values and write the log.
    priority = 'LOW'

    _shown: 'ProgressBarHook | None' = None  # a terminal has room for one

    def __init__(self) -> None:
        self._live = None
        self._handlers = []
        self._metric = ''
        self._refreshed = 0.

    def before_train(self, runner) -> None:
        self._open(runner)

    def before_val(self, runner) -> None:
        self._open(runner)

    def before_test(self, runner) -> None:
        self._open(runner)

    def _open(self, runner) -> None:
        if self._live or not is_main_process() or not sys.stdout.isatty():
            return
        from rich.console import Console  # here, so that whoever imports the engine for a network does not need it
        from rich.live import Live
        console = Console(file=sys.stdout)
        # Never hidden, so that a killed run leaves the terminal as it found it.
        console.show_cursor = lambda show=True: False
        if not console.is_interactive:
            return
        if ProgressBarHook._shown:
            ProgressBarHook._shown.close()
        # No refresh thread: data loaders fork, and a lock that it holds would stay locked in the child.
        # A standard error that goes to a file must keep going there.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stderr=sys.stderr.isatty())
        self._handlers = [
            (handler, handler.stream) for handler in runner.logger.handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
        ]
        self._live.start()
        for handler, _ in self._handlers:
            handler.setStream(sys.stdout)  # by now the stand-in that writes above the bar
            handler.addFilter(_not_periodic)
        self._excepthook, sys.excepthook = sys.excepthook, self._on_exception
        atexit.register(self.close)
        ProgressBarHook._shown = self

    def close(self) -> None:
        """Take the bar away and give the terminal back. Safe to call at any time."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        for handler, stream in self._handlers:
            handler.setStream(stream)
            handler.removeFilter(_not_periodic)
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._excepthook
        atexit.unregister(self.close)
        ProgressBarHook._shown = None

    def _on_exception(self, *exc_info) -> None:
        excepthook = self._excepthook
        self.close()
        excepthook(*exc_info)

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode='train') -> None:
        if self._live is None:
            return
        title, done = mode, batch_idx + 1
        if mode != 'train':
            total = len(runner.val_dataloader if mode == 'val' else runner.test_dataloader)
        elif isinstance(runner.train_loop, IterBasedTrainLoop):
            total = runner.max_iters
        else:
            total = len(runner.train_dataloader)
            title = f'train {runner.epoch + 1}/{runner.max_epochs}'
        now = time.monotonic()
        if done < total and now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now

        notes = f'{done:{len(str(total))}}/{total}'
        if 'eta' in runner.message_hub.runtime_info:
            notes += f'  eta {timedelta(seconds=int(runner.message_hub.get_info("eta")))}'
        if mode == 'train' and 'train/loss' in runner.message_hub.log_scalars:
            # The same mean as in the log's line.
            loss = runner.message_hub.get_scalar('train/loss').mean(runner.log_processor.window_size)
            notes += f'  loss {loss:.4f}'
        self._live.update(self._line(title, done / total, notes + self._metric), refresh=True)

    def _line(self, title: str, share: float, notes: str):
        from rich.text import Text
        console = self._live.console
        # Room for the figures goes before room for the bar.
        width = max(0, min(BAR_WIDTH, console.width - len(title) - len(notes) - 3))
        full, empty = '━─' if console.encoding.startswith('utf') else '#-'
        done = round(share * width)
        return Text.assemble(
            (title, 'bold'), ' ', (full * done, 'green'), (empty * (width - done), 'bright_black'), ' ',
            notes, no_wrap=True, overflow='crop')

    def after_val_epoch(self, runner, metrics=None) -> None:
        name = headline_metric(metrics or {})
        self._metric = f'  {name} {metrics[name]:.4f}' if name else ''

    def after_run(self, runner) -> None:
        self.close()
