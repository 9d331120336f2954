import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '(.+)'", ROOT.joinpath('mobileode_mm/version.py').read_text())[1]

setup(
    name='mobileode-mm',
    version=VERSION,
    description='MobileODE for OpenMMLab: backbones whose pointwise convolutions are ODE solvers',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mobileode_mm*', 'mmodeconf*']),
    package_data={'mobileode_mm.ode': ['*.cpp']},
    # MMEngine, MMCV and the toolboxes are left to the extra `openmmlab`: OpenMMLab's own distributions of
    # them serve as well, and the two families overwrite each other's files.
    install_requires=['matplotlib', 'numpy', 'pillow', 'torch>=2.4', 'torchvision'],
    extras_require={
        'openmmlab': [
            'onedl-mmengine>=0.10.12',
            'onedl-mmcv>=2.3.6',
            'onedl-mmdetection>=3.5.1',
            'onedl-mmsegmentation>=1.4.2',
            'onedl-mmpretrain>=1.3.6',
        ],
        'demo': ['scikit-image', 'scikit-learn'],  # pictures and handwriting of the mini data
        'deploy': ['onnx', 'onnxruntime', 'onnxscript', 'safetensors'],
        'sbd': ['scipy'],  # the Semantic Boundaries Dataset comes as MATLAB files
        'test': ['onnx', 'onnxruntime', 'onnxscript', 'pytest', 'pytest-xdist', 'safetensors', 'setuptools>=70.1,<82'],
        'dev': ['ruff'],
    },
    entry_points={
        'console_scripts': [
            'mobileode-train=mobileode_mm.apis.cli:train_main',
            'mobileode-test=mobileode_mm.apis.cli:test_main',
            'mobileode-infer=mobileode_mm.apis.inferring:main',
            'mobileode-publish=mobileode_mm.apis.publishing:main',
            'mobileode-export=mobileode_mm.deploy.exporting:main',
            'mobileode-doctor=mobileode_mm.doctor:main',
            'mobileode-mini-data=mobileode_mm.data.cli:main',
            'mobileode-verify-data=mobileode_mm.data.verify.cli:main',
        ],
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
