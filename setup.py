"""The metadata are in pyproject.toml; here is what it cannot say: the kernels of a wheel, and what is not for wheels.

``MOBILEODE_BUILD_KERNELS``: 1 makes a wheel that cannot have kernels an error, 0 makes one without; unset, a wheel has
them where a C++ compiler is installed and knows this processor's instruction sets.
"""
import os
import platform
import runpy
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

BACKENDS = Path('mobileode_mm/ode/backends')
VARIABLE = 'MOBILEODE_BUILD_KERNELS'


class Build(build_py):
    """Leave ``benchmarks`` out of wheels, and put the kernels in. An editable install is run from the checkout."""

    has_kernels = False

    def finalize_options(self):
        super().finalize_options()
        if not self.editable_mode:
            self.packages = [name for name in self.packages if name.split('.')[0] != 'benchmarks']

    def run(self):
        super().run()
        if self.editable_mode:
            return
        wanted = os.environ.get(VARIABLE, '')
        if wanted not in ('', '0', '1'):
            sys.exit(f'{VARIABLE}={wanted} is unknown; legal: 0, 1, or nothing')
        compiler = runpy.run_path(str(Path(__file__).parent / BACKENDS / 'compiler.py'))
        folder = Path(self.build_lib) / BACKENDS / compiler['PREBUILT'].name
        shutil.rmtree(folder, ignore_errors=True)  # of a build before
        if wanted == '0':
            return
        try:
            compiler['compile_levels'](folder)
        except compiler['NativeUnavailable'] as error:
            shutil.rmtree(folder, ignore_errors=True)
            if wanted:
                sys.exit(f'{VARIABLE}=1, but {error}')
            print(f'a wheel without kernels, which are compiled at their first use: {error}', file=sys.stderr)
        else:
            self.has_kernels = True


class Wheel(bdist_wheel):
    """For every Python 3, as the kernels know nothing of Python; for this platform where they are inside."""

    def run(self):
        self.run_command('build')
        self.root_is_pure = not self.get_finalized_command('build_py').has_kernels
        super().run()

    def get_tag(self):
        if self.root_is_pure:
            return super().get_tag()
        # A universal Python of macOS gets its own processor's kernels alone.
        return 'py3', 'none', super().get_tag()[2].replace('universal2', platform.machine())


setup(cmdclass={'build_py': Build, 'bdist_wheel': Wheel})
