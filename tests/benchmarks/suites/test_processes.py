"""Processes of a suite."""
import signal
import sys

from benchmarks.suites.processes import Processes


def test_a_crash_in_compiled_code_leaves_its_place_in_the_log(tmp_path):
    log = tmp_path / 'console.log'
    with open(tmp_path / 'lock', 'w') as lock, Processes(lock.fileno()) as processes:
        code = processes.run([sys.executable, '-c', 'import os\ndef crash(): os.abort()\ncrash()'], log)
    assert code == -signal.SIGABRT
    assert 'in crash' in log.read_text()
