"""The text of `python -m mmcgc`: versions, backends, packages, and the commands that it lists."""

import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from mmcgc import __version__, zoo
from mmcgc.__main__ import COMMANDS, main


def test_info_gives_versions_backends_and_extras(capsys):
    main(['info'])
    out = capsys.readouterr().out
    assert out.startswith(f'mmcgc {__version__}, Python ') and f'  torch: {torch.__version__}' in out
    assert '  tiled: can run\n' in out and '  triton: ' in out
    assert '  image: complete (mmpretrain ' in out


def test_a_missing_package_names_its_extra(capsys, monkeypatch):
    monkeypatch.setattr('mmcgc.about.EXTRAS', {'text': ('no_such_package',)})
    main(['info'])
    assert "  text: pip install 'mmcgc[text]' (no_such_package missing)" in capsys.readouterr().out


def test_lists_every_config_and_tool(capsys):
    main(['configs'])
    configs = capsys.readouterr().out.splitlines()
    assert {str(zoo.config_path(name.removeprefix('mmcgc::'))) for name in configs} >= {
        model['Config'] for model in zoo.models().values()
    }
    main(['tools'])
    assert str(ROOT / 'tools/train.py') in capsys.readouterr().out.splitlines()


def test_lists_weights(capsys, monkeypatch):
    name = next(iter(zoo.models()))
    monkeypatch.setitem(zoo.models()[name], 'Weights', 'mmcgc://some.safetensors')
    main(['weights'])
    assert f'{name}  mmcgc://some.safetensors' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [[], ['info']], ids=['all', 'info'])
def test_runs_as_a_module(arguments):
    done = subprocess.run([sys.executable, '-m', 'mmcgc', *arguments], capture_output=True, text=True, check=True)
    assert 'backends on cpu' in done.stdout and ('mmcgc::quickstart/' in done.stdout) == (not arguments)


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(['everything'])
    refusal = capsys.readouterr().err
    assert all(name in refusal for name in COMMANDS)
