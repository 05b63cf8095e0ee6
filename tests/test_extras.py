"""Packages that only a part needs: what works without them, and the error that names what to install."""

import subprocess
import sys
import textwrap

import pytest
from mmengine.registry import Registry

from mmcgc.extras import EXTRAS, import_extra, optional

BLOCK = """
    import sys

    class Without:
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, *arguments):
            return None if name.split('.')[0] in {names!r} else self.finder.find_spec(name, *arguments)

    sys.meta_path[:] = map(Without, sys.meta_path)
"""


def without(names: tuple[str, ...], code: str) -> subprocess.CompletedProcess:
    """Run code in an interpreter in which some packages are missing."""
    code = textwrap.dedent(BLOCK).format(names=names) + textwrap.dedent(code)
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


ALL = tuple(package for packages in EXTRAS.values() for package in packages if package != 'matplotlib')
BASE = """
    import torch
    from torch import nn
    from mmcgc import CGConv2d, convert_to_cgc
    print(CGConv2d(16, 16, 3)(torch.zeros(2, 16, 8, 8)).shape)
    print(convert_to_cgc(nn.Sequential(nn.Conv2d(16, 16, 3))))
    from mmcgc.__main__ import main
    main(['info'])
    import mmcgc.models, mmcgc.engine
    from mmcgc.registry import DATASETS, MODELS, TRANSFORMS
    print(MODELS.get('TranslationModel').__name__)
    for registry, name in ((MODELS, 'CIFARResNet'), (DATASETS, 'VideoDataset'), (TRANSFORMS, 'DecodeOnce')):
        try:
            registry.build(dict(type=name))
        except ImportError as error:
            print(error)
"""


def test_the_layers_do_without_every_extra():
    done = without((*ALL, 'mmcv'), BASE)
    assert done.returncode == 0, done.stderr
    assert 'torch.Size([2, 16, 6, 6])' in done.stdout and 'CGConv2d' in done.stdout
    assert 'TranslationModel' in done.stdout
    assert "CIFARResNet needs mmpretrain (No module named 'mmpretrain'): pip install 'mmcgc[image]'" in done.stdout
    for name in ('VideoDataset', 'DecodeOnce'):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f'{name} needs mmaction (No module'))
        assert "): pip install 'mmcgc[video]'" in line


CONFIG = """
    import mmcgc
    from mmcgc import zoo
    from mmengine import Config
    Config.fromfile(zoo.config_path('quickstart/{name}.py'))
"""


@pytest.mark.parametrize('missing, name, remedy', [
    ('mmpretrain', 'cgc-resnet20_1xb32-10e_digits', "pip install 'mmcgc[image]'"),
    ('mmaction', 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits', "pip install 'mmcgc[video]'"),
    ('mmcv', 'cgc-resnet20_1xb32-10e_digits', 'pip install mmcv-lite==2.1.0'),
], ids=['mmpretrain', 'mmaction', 'mmcv'])  # fmt: skip
def test_a_config_names_what_it_lacks(missing, name, remedy):
    done = without((missing,), CONFIG.format(name=name))
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError') and f"No module named '{missing}'" in last and remedy in last


def test_a_package_of_no_extra_is_named():
    with pytest.raises(ImportError, match='no_such_package cannot be imported'):
        import_extra('no_such_package')


@pytest.mark.parametrize('error', [ImportError('broken'), AssertionError('another mmcv')], ids=['import', 'version'])
def test_a_stand_in_says_what_failed(error):
    registry = Registry('thing')
    with optional(registry, 'mmaction', 'First', 'Second'):
        raise error
    for name in ('First', 'Second'):
        with pytest.raises(ImportError, match=rf"{name} needs mmaction \({error}\): pip install 'mmcgc\[video\]'"):
            registry.build(dict(type=name))
