"""The weights that ship give the figures of the zoo again, by the commands and calls that a user has."""

import json
import subprocess
import sys
from collections import OrderedDict

import pytest
from helpers import ROOT
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer
from PIL import Image
from sklearn.datasets import load_digits

from mmcgc import zoo
from mmcgc.__main__ import main

METRICS = {'Image Classification': ('accuracy/top1', 1), 'Action Recognition': ('acc/top1', 100)}  # name, and scale
EMBEDDED = [name for name, model in zoo.models().items() if model['Weights'] and 'digits' in name]


def test_there_are_some():
    assert {'cgc-resnet20_1xb32-10e_digits', 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits'} <= {*EMBEDDED}


def case(name: str):
    return pytest.param(name, marks=[] if 'cgc' in name else [pytest.mark.slow])


@pytest.mark.parametrize('name', map(case, EMBEDDED))
def test_the_test_tool_gives_the_recorded_figure(name, tmp_path):
    model = zoo.models()[name]
    command = [sys.executable, 'tools/test.py', model['Config'], model['Weights'], '--work-dir', tmp_path,
               '--out', tmp_path / 'metrics.json', '--out-item', 'metrics']  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    key, scale = METRICS[model['Task']]
    value = scale * json.loads((tmp_path / 'metrics.json').read_text())[key]
    assert round(value, 2) == model['Results'][0]['Metrics']['Top 1 Accuracy']


def test_the_inferencer_names_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())  # as in a fresh process
    digits = load_digits()
    pictures = [tmp_path / f'{i}.png' for i in range(20)]
    for path, picture in zip(pictures, digits.images[-20:], strict=True):
        Image.fromarray((picture * 15.9).astype('uint8')).resize((32, 32)).save(path)
    results = ImageClassificationInferencer('cgc-resnet20_1xb32-10e_digits', pretrained=True, device='cpu')(
        list(map(str, pictures))
    )
    named = [int(result['pred_class']) for result in results]
    assert sum(a == b for a, b in zip(named, digits.target[-20:], strict=True)) >= 18


def test_they_are_listed(capsys):
    main(['weights'])
    assert 'cgc-resnet20_1xb32-10e_digits  mmcgc://cgc-resnet20_1xb32-10e_digits.safetensors' in capsys.readouterr().out


def test_they_are_small():
    assert sum(path.stat().st_size for path in zoo.WEIGHTS.iterdir()) < 6.5e6
