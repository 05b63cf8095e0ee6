"""Packaging; the wheel carries configs, tools and the model index in ``mmcgc/.mim``, where mim looks for them."""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# mmaction2 requires decord, which has wheels for these machines only; elsewhere see the README.
VIDEO = 'platform_machine == "x86_64" or platform_machine == "AMD64"'

# mmcv is missing on purpose: mmcv-lite and a full mmcv own the same folder, and whoever has the full one keeps it.
INSTALL = [
    'mmaction2>=1.2.0,<1.3; ' + VIDEO,
    'decord>=0.6.0; ' + VIDEO,
    'matplotlib>=3.5',
    'mmengine>=0.10.7,<1',
    'mmpretrain>=1.2.0,<1.3',
    'numpy>=1.24',
    'scikit-learn>=1.3',
    'scipy>=1.9',
    'setuptools>=77.0.3,<80.9',  # mmengine imports pkg_resources: later releases warn on every call, then lack it
    'torch>=2.6',
    'torchvision>=0.21',
]
ANALYSIS = ['fvcore>=0.1.5.post20221221', 'grad-cam>=1.3.7,<1.5', 'tensorboard>=2.12']  # grad-cam 1.5: a second OpenCV
TEXT = ['num2words>=0.5.13', 'sacrebleu>=2.3', 'sacremoses>=0.1', 'subword-nmt>=0.3.8']
EXPORT = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.3']
TESTS = ANALYSIS + TEXT + EXPORT + [
    'av>=14,<20',  # makes odd video files, and tells how they play
    'hypothesis>=6.100',
    'packaging>=23',
    'pytest>=8,<10',
    'pytest-xdist>=3.5',
    'ruff>=0.15',
    'safetensors>=0.4',
    # Triton's interpreter runs the GPU kernels on the CPU; a CUDA build of torch brings the version that it needs.
    'triton>=3.2,<3.10; sys_platform == "linux" and platform_machine == "x86_64"',
]
DEV = TESTS + ['build>=1', 'timm>=1']


class BuildWithMim(build_py):
    """Copy what mim needs into the build folder, so that the source tree stays as it is."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'mmcgc', '.mim')
        shutil.rmtree(mim, ignore_errors=True)  # a build folder of an earlier state may hold files that are gone
        for folder in ('configs', 'tools'):
            shutil.copytree(folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        shutil.copy('model-index.yml', mim)


setup(
    name='mmcgc',
    version=runpy.run_path('mmcgc/version.py')['__version__'],
    description='Context-Gated Convolution for OpenMMLab: kernels gated by the whole input',
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['mmcgc', 'mmcgc.*']),
    package_data={'mmcgc': ['weights/*']},
    install_requires=INSTALL,
    extras_require={'analysis': ANALYSIS, 'text': TEXT, 'export': EXPORT, 'tests': TESTS, 'dev': DEV},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
