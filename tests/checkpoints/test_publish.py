"""Published weights: small, whole, with their sum, and loaded again by their address."""

import hashlib
import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from mmengine.runner import load_checkpoint
from safetensors import safe_open
from torch import nn

from mmcgc import zoo
from mmcgc.checkpoints.publish import publish_weights


@pytest.fixture
def checkpoint(tmp_path):
    net = nn.BatchNorm1d(3)
    nn.init.normal_(net.weight)
    meta = dict(dataset_meta=dict(classes=('cat', 'dog')), cfg='secret = 1', hostname='here')
    torch.save(dict(meta=meta, state_dict=net.state_dict(), optimizer=dict(state={})), tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


def test_the_file_and_its_sum(checkpoint, tmp_path):
    out = tmp_path / 'out'
    assert publish_weights(checkpoint, 'b.safetensors', out) == 'mmcgc://b.safetensors'
    publish_weights(checkpoint, 'a.safetensors', out, half=True)
    sums = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ('a.safetensors', 'b.safetensors')}
    assert zoo.read_sums(out) == sums and list(zoo.read_sums(out)) == sorted(sums)
    with safe_open(out / 'b.safetensors', 'pt') as file:
        assert file.metadata() == {'format': 'pt', 'dataset_meta': '{"classes": ["cat", "dog"]}'}
    assert b'secret' not in (out / 'b.safetensors').read_bytes()


@pytest.mark.parametrize('half', [False, True])
def test_weights_come_back_by_their_address(checkpoint, tmp_path, monkeypatch, half):
    monkeypatch.setattr(zoo, 'WEIGHTS', tmp_path / 'out')
    address = publish_weights(checkpoint, 'a.safetensors', zoo.WEIGHTS, half)
    net, wanted = nn.BatchNorm1d(3), torch.load(checkpoint)['state_dict']
    loaded = load_checkpoint(net, address, map_location='cpu')
    assert loaded['meta'] == dict(dataset_meta=dict(classes=['cat', 'dog']))
    assert loaded['state_dict']['weight'].dtype == (torch.float16 if half else torch.float32)
    assert net.weight.dtype == torch.float32
    torch.testing.assert_close(net.weight.data, wanted['weight'].half().float() if half else wanted['weight'])
    assert net.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize('name', ['a.pth', 'folder/a.safetensors', '../a.safetensors', ''])
def test_other_names_are_refused(checkpoint, tmp_path, name):
    with pytest.raises(ValueError, match='must be that of a .safetensors file'):
        publish_weights(checkpoint, name, tmp_path / 'out')


def test_weights_beyond_half_precision_are_refused(checkpoint, tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.tensor([7e4]))), checkpoint)
    publish_weights(checkpoint, 'a.safetensors', tmp_path / 'out')
    with pytest.raises(ValueError, match='in float16: weight is not finite'):
        publish_weights(checkpoint, 'b.safetensors', tmp_path / 'out', half=True)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['SHA256SUMS', 'a.safetensors']


def test_the_tool_prints_the_address(checkpoint, tmp_path):
    command = [sys.executable, 'tools/publish_weights.py', checkpoint, 'a.safetensors', '--folder', tmp_path / 'out']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith('mmcgc://a.safetensors'), done.stderr
    assert (tmp_path / 'out/a.safetensors').is_file()
