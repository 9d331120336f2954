"""The metadata are in pyproject.toml; here is what it cannot say: ``benchmarks`` is not for the wheel."""
from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutBenchmarks(build_py):
    """Leave ``benchmarks`` out of wheels. An editable install has it, for it is run from the checkout."""

    def finalize_options(self):
        super().finalize_options()
        if not self.editable_mode:
            self.packages = [name for name in self.packages if name.split('.')[0] != 'benchmarks']


setup(cmdclass={'build_py': WithoutBenchmarks})
