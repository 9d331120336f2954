import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

SCRIPT = '''
import importlib.util, os, signal, sys, time, warnings
spec = importlib.util.spec_from_file_location('toy', {toy!r})
toy = importlib.util.module_from_spec(spec); sys.modules['toy'] = toy; spec.loader.exec_module(toy)
from mmengine.hooks import Hook
from mmengine.runner import Runner
import mobileode_mm.engine

class Speaker(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        {each_iteration}
        if batch_idx == 3:
            runner.logger.info('spoken by the logger')
            print('spoken by print')
            warnings.warn('spoken by a warning')
    def before_val_epoch(self, runner):
        print('spoken before validation')

bar = [dict(type='ProgressBarHook')]
runner = Runner(**toy.toy_config({work_dir!r}, hooks=[Speaker(), *bar], **dict({changes})))
print('THE RUN BEGINS')
{run}
print('THE RUN IS OVER', type(sys.stdout).__name__, type(sys.stderr).__name__)
'''


class Screen:
    """What a terminal shows: line feeds, carriage returns, cursor up, erasing; the rest must be colours."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column = columns, [''], 0, 0
        self.modes = set()

    def feed(self, text):
        for token in re.findall(r'\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]|\x1b', text):
            if token == '\n':
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append('')
            elif token == '\r':
                self.column = 0
            elif token.startswith('\x1b'):
                count, command = token[2:-1], token[-1]
                if command == 'A':
                    self.row -= int(count or 1)
                    assert self.row >= 0
                elif token == '\x1b[2K':
                    self.lines[self.row] = ''
                elif command in 'hl':
                    self.modes.add(token)
                else:
                    assert command == 'm', repr(token)
            else:
                if self.column == self.columns:
                    self.feed('\r\n')
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[:self.column] + token + line[self.column + 1:]
                self.column += 1

    def text(self):
        return '\n'.join(line.rstrip() for line in self.lines)


def _script(tmp_path, toy, run='runner.train()', changes='', each_iteration='pass'):
    path = tmp_path / 'run.py'
    path.write_text(SCRIPT.format(
        toy=toy.__file__, work_dir=str(tmp_path / 'work'), run=run, changes=changes,
        each_iteration=each_iteration))
    return path


def _on_terminal(script, columns=120, stderr=None, **environment):
    """Run a script on a pseudo-terminal; its output as it came, and the exit status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
    before = termios.tcgetattr(slave)
    # What the terminal's size is reported by, where it is set: that of the tests, not of this terminal.
    inherited = {name: value for name, value in os.environ.items() if name not in ('COLUMNS', 'LINES')}
    process = subprocess.Popen([sys.executable, script], stdin=slave, stdout=slave, stderr=stderr or slave,
                               env={**inherited, 'TERM': 'xterm-256color', **environment})
    decoder = codecs.getincrementaldecoder('utf-8')()
    chunks, deadline = [], time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.05)[0]:
            chunks.append(decoder.decode(os.read(master, 65536)))
        elif process.poll() is not None:
            break
    process.kill()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
    return chunks, process.wait()


def _shown(chunks, columns=120):
    """The last image of the screen, and all of them: one before each time that a line is erased."""
    screen = Screen(columns)
    frames = []
    for part in re.split(r'(?=\r\x1b\[2K)', ''.join(chunks)):
        screen.feed(part)
        frames.append(screen.text())
    # So that a killed run, which nothing can clean up, leaves the cursor and all else as it was.
    assert not screen.modes, 'a mode of the terminal was changed'
    return screen.text(), frames


def _log(tmp_path):
    path, = (tmp_path / 'work').glob('*/*.log')
    return path.read_text()


BAR = re.compile(r'^(train \d/\d|train|val|test) ━*─* *(\d+)/(\d+)  eta 0:00:\d\d')


def _bars(frames):
    return [line for frame in frames for line in frame.splitlines() if BAR.match(line)]


def test_bar_on_a_terminal(tmp_path, toy):
    chunks, status = _on_terminal(_script(tmp_path, toy, each_iteration='time.sleep(0.02)'))
    assert status == 0
    final, frames = _shown(chunks)

    # Seen on the way: every field.
    bars = _bars(frames)
    assert any(re.fullmatch(r'train 1/3 ━{40} 8/8  eta 0:00:\d\d  loss \d\.\d{4}', line)
               for line in bars), bars
    assert any(re.fullmatch(r'train 3/3 ━{40} 8/8  eta 0:00:00  loss \d\.\d{4}  accuracy/top1 [\d.]+', line)
               for line in bars), bars
    for line in bars:
        done, total = map(int, BAR.match(line).groups()[1:])
        assert line.count('━') == round(40 * done / total) and line.count('━') + line.count('─') == 40
    assert any(line.startswith('val ') and ' 8/8 ' in line for line in bars)
    assert all(len(_bars([frame])) <= 1 for frame in frames), 'never more than one bar'

    # Left at the end: the bar is gone, what was said stands whole on lines of its own.
    assert not _bars([final]) and '━' not in final
    for words in ('spoken by print', 'spoken before validation'):
        assert final.splitlines().count(words) == 3
    assert len(re.findall(r'^\d\d/\d\d [\d:]+ - mmengine - INFO - spoken by the logger$', final, re.M)) == 3
    assert 'UserWarning: spoken by a warning' in final
    assert len(re.findall(r'INFO - Saving checkpoint at \d epochs$', final, re.M)) == 3
    assert len(re.findall(r'Epoch\(val\) \[\d\]\[8/8\] +accuracy/top1: ', final)) == 3
    assert final.splitlines()[-1] == 'THE RUN IS OVER TextIOWrapper TextIOWrapper'

    # Iterations are not repeated as lines, and still stand in the file, which holds nothing of the bar.
    assert 'Epoch(train)' not in final
    assert len(re.findall(r'Epoch\(train\) +\[\d\]\[\d/8\]', _log(tmp_path))) == 12
    assert '\x1b' not in _log(tmp_path) and '━' not in _log(tmp_path)


@pytest.mark.slow
def test_iterations_and_test_on_a_narrow_terminal_with_workers_and_errors_in_a_file(tmp_path, toy):
    script = _script(tmp_path, toy, 'runner.train(); runner.test()', each_iteration='time.sleep(.02)',
                     changes='''
        train_cfg=dict(by_epoch=False, max_iters=20, val_interval=10), log_processor=dict(by_epoch=False),
        train_dataloader=toy.toy_loader(num_workers=1), test_dataloader=toy.toy_loader(False),
        test_evaluator=[toy.ToyAccuracy()], test_cfg=dict()''')
    with open(tmp_path / 'errors', 'w') as errors:
        chunks, status = _on_terminal(script, 60, errors)
    assert status == 0
    final, frames = _shown(chunks, 60)
    bars = _bars(frames)
    assert any(re.fullmatch(r'train ━* 20/20  eta 0:00:00  loss \d\.\d{4}  accuracy/top1.*', line)
               for line in bars), bars
    assert any(re.match('test ━+ 8/8  eta', line) for line in bars), bars
    assert max(map(len, bars)) <= 60
    assert '━' not in final and 'Iter(train)' not in final
    assert 'Iter(test) [8/8]' in final
    assert 'spoken by a warning' in (tmp_path / 'errors').read_text()
    assert 'spoken by a warning' not in final


FAILING = '''
        if batch_idx == 4:
            raise ValueError('the fifth iteration')'''


def test_an_uncaught_exception_leaves_a_sane_terminal(tmp_path, toy):
    chunks, status = _on_terminal(_script(tmp_path, toy, each_iteration=FAILING))
    final, frames = _shown(chunks)
    assert status == 1
    assert _bars(frames) and '━' not in final
    assert '\nTraceback (most recent call last):\n  File "' in final
    assert final.endswith('\nValueError: the fifth iteration\n')


def test_a_caught_exception_leaves_a_sane_terminal(tmp_path, toy):
    # First a program that goes on with another run, then a command line that ends with one message.
    chunks, status = _on_terminal(_script(tmp_path, toy, each_iteration=FAILING, run='''
try:
    runner.train()
except ValueError:
    print('caught')
second = toy.toy_config(sys.argv[0] + '.second', hooks=bar, experiment_name='second')
Runner(**second).train()
print('STREAMS', type(sys.stdout).__name__, type(sys.stderr).__name__)
third = toy.toy_config(sys.argv[0] + '.third', hooks=[Speaker(), *bar], experiment_name='third')
try:
    Runner(**third).train()
except ValueError as error:
    sys.exit(f'error: {error}')'''))
    final, frames = _shown(chunks)
    assert status == 1
    assert all(len(_bars([frame])) <= 1 for frame in frames)
    assert '━' not in final
    assert 'caught' in final.splitlines() and 'STREAMS TextIOWrapper TextIOWrapper' in final.splitlines()
    assert any(line.startswith('train 3/3') for line in _bars(frames)), 'the second run had its bar'
    assert final.rstrip().endswith('\nerror: the fifth iteration')


def test_an_interrupt_leaves_a_sane_terminal(tmp_path, toy):
    chunks, status = _on_terminal(_script(tmp_path, toy, each_iteration='''
        if batch_idx == 4:
            os.kill(os.getpid(), signal.SIGINT)'''))
    assert status == -signal.SIGINT
    final, frames = _shown(chunks)
    assert _bars(frames)
    assert '━' not in final and final.endswith('\nKeyboardInterrupt\n')


def _without_times(text):
    return re.sub(r'\d+/\d+ \d\d:\d\d:\d\d|\d{8}_\d{6}|/\S*/|(eta|time|data_time): [\d.:]+', '', text)


def test_nothing_changes_in_a_pipe(tmp_path, toy):
    script = _script(tmp_path, toy, run='''
runner = Runner(**toy.toy_config(sys.argv[0] + '.plain', hooks=[Speaker()], experiment_name='plain'))
print('PLAIN')
runner.train()
print('END')
runner = Runner(**toy.toy_config(sys.argv[0] + '.barred', hooks=[Speaker(), *bar], experiment_name='barred'))
print('BARRED')
runner.train()
print('END')
''')
    output = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
        env={**os.environ, 'FORCE_COLOR': '1'}).stdout
    # Warnings that mmengine gives once a process are left out.
    plain, barred = ([line for line in part.splitlines() if 'WARNING' not in line]
                     for part in re.findall(r'^(?:PLAIN|BARRED)\n(.*?)^END$', output, re.S | re.M))
    assert sum('Epoch(train)' in line for line in plain) == 12
    plain = [_without_times(line).replace('plain', 'barred') for line in plain]
    assert plain == [_without_times(line) for line in barred]


def test_no_bar_on_a_dumb_terminal_nor_on_another_rank(tmp_path, toy):
    chunks, status = _on_terminal(_script(tmp_path, toy, run='''
runner.train()
os.environ['TERM'] = 'xterm'
import torch.distributed as dist
hook, = [hook for hook in runner.hooks if type(hook).__name__ == 'ProgressBarHook']
child = os.fork()
rank = 1 if child else 0
dist.init_process_group('gloo', store=dist.FileStore(sys.argv[0] + '.store', 2), rank=rank, world_size=2)
hook.before_train(runner)
shown = sys.stdout is not sys.__stdout__
hook.close()
dist.barrier()
dist.destroy_process_group()
print(f'RANK {rank} {shown}', flush=True)
if not child:
    os._exit(0)
os.waitpid(child, 0)'''), TERM='dumb')
    output = ''.join(chunks)
    assert status == 0
    assert '━' not in output and 'Epoch(train)' in output
    assert 'RANK 0 True' in output and 'RANK 1 False' in output
