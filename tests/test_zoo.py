"""Models, configs and weights by name, and weights whose sum is checked."""

import hashlib
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmcgc import zoo

TASKS = {'mmpretrain': 'Image Classification', 'mmaction': 'Action Recognition', 'mmengine': 'Machine Translation'}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """A function that ships a module's weights under a name."""

    def write(module: nn.Module, name: str) -> str:
        state = module.state_dict()
        save_file(state, tmp_path / name) if name.endswith('.safetensors') else torch.save(state, tmp_path / name)
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        with open(tmp_path / 'SHA256SUMS', 'a', encoding='utf-8') as sums:
            sums.write(f'{digest}  {name}\n')
        return f'mmcgc://{name}'

    monkeypatch.setattr(zoo, 'WEIGHTS', tmp_path)
    return write


@pytest.mark.parametrize('name', ['first.safetensors', 'second.pth'])
def test_weights_load_by_address(publish, name):
    published, other = nn.Linear(2, 3), nn.Linear(2, 3)
    load_checkpoint(other, publish(published, name), map_location='cpu')
    torch.testing.assert_close(other.weight, published.weight)


def test_weights_that_changed_are_refused(publish):
    address = publish(nn.Linear(1, 1), 'some.pth')
    torch.save(nn.Linear(1, 1).state_dict(), zoo.WEIGHTS / 'some.pth')
    with pytest.raises(ValueError, match=r'some.pth is damaged or was replaced: its SHA256 is \w{64}, expected \w{64}'):
        load_checkpoint(nn.Linear(1, 1), address)


@pytest.mark.parametrize('address', ['mmcgc://other.pth', 'mmcgc://../some.pth'], ids=['unknown', 'outside'])
def test_weights_that_do_not_ship_are_named(publish, address):
    publish(nn.Linear(1, 1), 'some.pth')
    with pytest.raises(FileNotFoundError, match=rf'{address}: no such weights ship .* it has some.pth'):
        load_checkpoint(nn.Linear(1, 1), address)


def test_where_no_weights_ship():
    with pytest.raises(FileNotFoundError, match='it has none'):
        zoo.weights_path('mmcgc://some.pth', Path('nowhere'))


@pytest.mark.parametrize('name', zoo.models())
def test_the_task_is_that_of_the_library(name):
    scope = Config.fromfile(zoo.models()[name]['Config']).default_scope
    assert zoo.models()[name]['Task'] == TASKS[scope]


def test_shipped_weights_are_those_of_the_metafiles():
    for model in zoo.models().values():
        if model['Weights'] is not None:
            assert zoo.weights_path(model['Weights']).is_file()


def test_a_missing_config_is_named():
    with pytest.raises(FileNotFoundError, match="no config 'quickstart/none.py'"):
        zoo.config_path('quickstart/none.py')
