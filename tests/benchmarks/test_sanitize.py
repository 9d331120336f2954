"""The checkers of the CPU kernels see what they are there for."""
import json
import platform
import shutil
import subprocess
import sys

import pytest

from benchmarks.output import put_into_page
from benchmarks.sanitize import guard, training
from benchmarks.sanitize.__main__ import MARK, main, markdown, run_part
from benchmarks.sanitize.builds import PARTS
from benchmarks.sanitize.cases import BATCHES, Case, cases, check, sides_of_networks
from mobileode_mm.ode.backends import compiler, cpu_operators

on_linux = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc' or not shutil.which('cc'),
                              reason='guard pages need Linux, glibc and a C compiler')

# Uses of 1,000 bytes. They end 24 bytes before a page that nobody may touch, for their alignment.
PROGRAM = '''
import ctypes, sys
c = ctypes.CDLL(None)
c.aligned_alloc.restype, c.aligned_alloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2
c.free.argtypes = [ctypes.c_void_p]
at = c.aligned_alloc(64, 1000)
use = sys.argv[1]
if use == 'right':
    ctypes.memset(at, 1, 1000)
elif use == 'read behind':
    ctypes.string_at(at + 1024, 1)
elif use == 'write behind':
    ctypes.memset(at + 1000, 1, 1)
elif use == 'write before':
    ctypes.memset(at - 1, 1, 1)
elif use == 'read after free':
    c.free(at)
    ctypes.string_at(at, 1)
elif use == 'free twice':
    c.free(at)
c.free(at)
print('came to its end')
'''


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    return guard.build_guard(tmp_path_factory.mktemp('guard'))


@on_linux
@pytest.mark.parametrize('side', ['behind', 'before'])
def test_guard_pages(library, side):
    def status(use):
        done = subprocess.run([sys.executable, '-S', '-c', PROGRAM, use], capture_output=True, text=True,
                              env=guard.environment(library, side))
        assert ('came to its end' in done.stdout) == (done.returncode == 0), done.stderr
        return done.returncode

    assert status('right') == 0
    found = {use: status(use) for use in ('write behind', 'write before', 'read after free', 'free twice')}
    assert all(code < 0 for code in found.values()), found
    if side == 'behind':
        assert status('read behind') < 0


def test_cases_cover_what_the_page_says():
    every = list(cases())
    assert every == list(cases()) and every != list(cases(seed=1))
    for batch in BATCHES:
        for norm in ('position', 'channel'):
            for dtype in ('float32', 'float64'):
                assert {(case.p, case.q) for case in every
                        if (case.batch, case.norm, case.dtype) == (batch, norm, dtype)} >= set(sides_of_networks())
    assert {(12, 24), (24, 12), (24, 24), (64, 32)} <= set(sides_of_networks())
    assert max(case.q for case in every) > 64 and max(case.p for case in every) > 72
    assert {case.threads for case in every} == {1, 2} and {case.channels_last for case in every} == {True, False}
    assert len({(case.p, case.q) for case in every}) > 200


@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_a_case_is_what_the_plain_solver_says(norm, dtype):
    assert check(Case(6, 9, 3, 2, 3, 5, norm, dtype, threads=2, channels_last=True, seed=0)) == []


@on_linux
@pytest.mark.slow
@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('part', ['asan', 'behind-x86-64'])
def test_a_cut(part, tmp_path, monkeypatch):
    """Nothing in the kernels; and a fault that is put there, a number too many where a row ends."""
    if PARTS[part].absent():
        pytest.skip(PARTS[part].absent())
    assert main(['--parts', part, '--every', '100', '--work-dir', str(tmp_path / 'sound')]) == 0
    row = json.loads((tmp_path / 'sound/sanitize.json').read_text())['parts'][part]
    assert row['cases'] > 10 and row['two_threads'] > 0 and row['fault'] is None
    sources = tmp_path / 'csrc'
    shutil.copytree(compiler.SOURCES, sources)
    vectors = (sources / 'vectors.h').read_text()
    right = 'for (int i = 0; i < count; ++i) at[i] = value[i];'
    assert right in vectors
    (sources / 'vectors.h').write_text(vectors.replace(right, right.replace('i < count', 'i <= count')))
    monkeypatch.setattr(compiler, 'SOURCES', sources)
    row = run_part(PARTS[part], tmp_path / 'faulty', part, 0, 100)
    assert 'Case(' in row['fault'] and ('runtime error' in row['fault'] or 'status -' in row['fault'])


def test_the_page(tmp_path):
    row = dict(title='guard pages', compiler='g++', flags=['-O3', '-g1', '-march=x86-64'], commit='c', cases=3,
               two_threads=1, sides=[4, 5], seconds=6, fault=None, absent=None)
    content = dict(seed=0, every=1, machine='m', parts={
        'a': row, 'b': dict(row, fault='status -11'), 'c': dict(row, absent='no AVX-512')})
    trained = dict(processes=[dict(status=-6), dict(status=0)], iterations=3000, config='a.py', threads=2, machine='m')
    text = markdown(dict(content, training=trained))
    assert text.startswith('Commit c, seed 0; m.')
    assert '| guard pages | g++ -O3 -march=x86-64 | 3 | 1 | 4, 5 | 6 | no fault |' in text
    assert '| 6 | a fault |' in text and '| not run: no AVX-512 |' in text
    assert text.endswith(training.markdown(trained)) and '3000 iterations, it ended with status -6; m.' in text
    assert markdown(dict(content, training=None)) in text
    page = tmp_path / 'page.md'
    page.write_text(f'<!-- {MARK}: begin -->\n<!-- {MARK}: end -->')
    put_into_page(page, MARK, content, text)
    assert text in page.read_text()


def test_bad_options_are_named(capsys, tmp_path):
    assert main(['--every', '0', '--work-dir', str(tmp_path)]) == 2
    assert 'error: --every 0 is under 1' in capsys.readouterr().err
