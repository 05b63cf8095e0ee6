"""Packaging; the wheel carries configs, tools and the model index in ``mmcgc/.mim``, where mim looks for them."""

import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# mmaction2 requires decord, which has wheels for these machines only; elsewhere see the README.
DECORD = 'platform_machine == "x86_64" or platform_machine == "AMD64"'

# mmcv-lite and a full mmcv own the same folder: whoever has the full one installs no extra that brings the other.
INSTALL = [
    'mmengine>=0.10.7,<1',
    'numpy>=1.24',
    'setuptools>=77.0.3,<80.9',  # mmengine imports pkg_resources: later releases warn on every call, then lack it
    'torch>=2.6',
]
IMAGE = [
    'mmcv-lite>=2.0.0rc4,<2.2',
    'mmpretrain>=1.2.0,<1.3',
    'safetensors>=0.4',
    'scikit-learn>=1.3',
    'torchvision>=0.21',
]
# mmcv-lite asks for the first OpenCV, mmaction2 for the second; both fill one folder, so they must be one version.
OPENCV = '4.14.0.94'
VIDEO = IMAGE + [
    f'mmaction2>=1.2.0,<1.3; {DECORD}',
    f'decord>=0.6.0; {DECORD}',
    f'opencv-python=={OPENCV}; {DECORD}',
    f'opencv-contrib-python=={OPENCV}; {DECORD}',
]
# grad-cam 1.5 brings a second OpenCV
ANALYSIS = ['fvcore>=0.1.5.post20221221', 'grad-cam>=1.3.7,<1.5', 'matplotlib>=3.5', 'scipy>=1.9', 'tensorboard>=2.12']
TEXT = ['num2words>=0.5.13', 'sacrebleu>=2.3', 'safetensors>=0.4', 'sacremoses>=0.1', 'subword-nmt>=0.3.8']
EXPORT = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.3']
ALL = VIDEO + ANALYSIS + TEXT + EXPORT
TESTS = ALL + [
    'av>=14,<20',  # makes odd video files, and tells how they play
    'hypothesis>=6.100',
    'packaging>=23',
    'pytest>=8,<10',
    'pytest-xdist>=3.5',
    'ruff>=0.17,<0.18',
    # Triton's interpreter runs the GPU kernels on the CPU; a CUDA build of torch brings the version that it needs.
    'triton>=3.2,<3.10; sys_platform == "linux" and platform_machine == "x86_64"',
]
SITE = ['furo>=2024.8', 'myst-parser>=4', 'sphinx>=8', 'sphinx-copybutton>=0.5']
DOCS = ALL + SITE  # the site imports what it documents
DEV = TESTS + SITE + ['build>=1', 'mypy>=1.15,<3', 'timm>=1']


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


def readme() -> str:
    """Return the README for an index page, without what leads nowhere there: pictures and links into the repository."""
    text = re.sub(r'^!\[.*\n\n', '', Path('README.md').read_text(encoding='utf-8'), flags=re.MULTILINE)
    return re.sub(r'\[([^\]]+)\]\((?![a-z]+:|#)[^)]+\)', r'\1', text)


setup(
    name='mmcgc',
    version=runpy.run_path('mmcgc/version.py')['__version__'],
    description='Context-Gated Convolution for OpenMMLab: kernels gated by the whole input',
    long_description=readme(),
    long_description_content_type='text/markdown',
    author='The mmcgc authors',
    license='Apache-2.0',
    project_urls={'Paper': 'https://arxiv.org/abs/1910.05577'},
    keywords='convolution context gating attention pytorch openmmlab image-classification action-recognition',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['mmcgc', 'mmcgc.*']),
    package_data={'mmcgc': ['py.typed', 'weights/*']},
    entry_points={'console_scripts': ['mmcgc = mmcgc.__main__:main']},
    install_requires=INSTALL,
    extras_require={
        'image': IMAGE,
        'video': VIDEO,
        'analysis': ANALYSIS,
        'text': TEXT,
        'export': EXPORT,
        'all': ALL,
        'tests': TESTS,
        'docs': DOCS,
        'dev': DEV,
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
