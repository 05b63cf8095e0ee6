"""Modules that have moved go on being imported under their old names, with a warning."""

import importlib
import subprocess
import sys

import pytest
from helpers import ROOT

from mmcgc.moved import MOVED


@pytest.mark.parametrize('old', ['engine.launch', 'checkpoint_guard', 'ops.tiled', 'layers.pooling', 'analysis.paper'])
def test_an_old_name_gives_the_module_at_its_new_place(old):
    sys.modules.pop(f'mmcgc.{old}', None)
    place = f'mmcgc.{MOVED[old]}'
    with pytest.warns(DeprecationWarning, match=f'{place};'):
        module = importlib.import_module(f'mmcgc.{old}')
    assert module is sys.modules[place] and module.__name__ == module.__spec__.name == place


def test_no_old_name_is_taken_and_every_new_one_is_there():
    for old, new in MOVED.items():
        assert not (ROOT / 'mmcgc' / f'{old.replace(".", "/")}.py').exists(), old
        assert (ROOT / 'mmcgc' / f'{new.replace(".", "/")}.py').is_file(), new


def test_every_form_of_import_works():
    code = """
from mmcgc.engine import launch
import mmcgc.ops.tiled as tiled
from mmcgc.layers.pooling import average_pool
import mmcgc.apis.launch

assert launch is mmcgc.apis.launch
print(tiled.__name__, average_pool.__module__)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ['mmcgc.ops.conv.tiled', 'mmcgc.ops.context.pooling'], done.stderr


def test_what_was_never_there_is_missing():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('mmcgc.engine.no_such_module')
