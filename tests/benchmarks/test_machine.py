"""What ran beside a measurement."""
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import OtherPrograms, seconds_of_others

STAT = Path('/proc/stat')


def test_sum_of_the_counters(tmp_path):
    # Idle time and waiting for disks (fourth, fifth) are not work; guests (the last two) are in user and nice already.
    (tmp_path / 'stat').write_text('cpu  1000000 20000 3000 999 888 400 50 6 77 7\ncpu0 1 2 3 4 5 6 7 8 9 10\n')
    own = time.process_time()
    found = seconds_of_others(tmp_path / 'stat')
    assert found == pytest.approx(1023456 / os.sysconf('SC_CLK_TCK') - own, abs=1)


def test_no_counters(tmp_path):
    assert seconds_of_others(tmp_path / 'absent') is None


@pytest.mark.skipif(not STAT.is_file(), reason='no counters of the kernel: not Linux')
def test_another_program_counts():
    before, others, spared = seconds_of_others(), OtherPrograms(), OtherPrograms()
    with spared.uncounted():
        script = 'import time\nwhile time.process_time() < 1: pass'
        subprocess.run([sys.executable, '-c', script], check=True, timeout=120)
        assert seconds_of_others() - before > 0.9
    assert others.busy() > 0.1
    assert spared._seconds - others._seconds > 0.9 and spared._begin - others._begin > 0.9
    assert 'disturbed' in others.report(999) and 'disturbed' not in others.report(-999)


def test_without_counters_the_load_alone_is_said(monkeypatch):
    monkeypatch.setattr(machine, 'seconds_of_others', lambda: None)
    others = OtherPrograms()
    assert others.busy() is None
    assert 'disturbed' not in others.report(1) and 'load average' in others.report(1)
