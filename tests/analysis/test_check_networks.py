"""``check_networks`` passes networks that survive their gates, and each of its checks fails where it should."""

import copy
import runpy
import sys

import pytest
import torch
from helpers import ROOT
from mmengine.logging import MMLogger
from torch import nn

from mmcgc import convert_to_cgc
from mmcgc.analysis import check_networks, missing_operators, neighbours
from mmcgc.analysis.check_networks import check, table
from mmcgc.layers import gated_layers

models = pytest.importorskip('torchvision').models  # after mmcgc, which mends its import beside another torch
TINY = {
    'mobilenet': lambda: models.MobileNetV2(4, 0.25, [[2, 8, 1, 2]]),
    'densenet': lambda: models.DenseNet(4, (1, 1), 8, num_classes=4),
}


def source(build, loss=neighbours.class_loss, needs='torchvision'):
    return neighbours.Source({needs: 'a-package'}, build, loss, dict.fromkeys(['net'], (32, 32)))


def from_torchvision(name):
    return source(lambda _, gated: convert_to_cgc(TINY[name]()) if gated else TINY[name]())


@pytest.mark.parametrize('name, count', [('mobilenet', 2), ('densenet', 3)])
def test_networks_that_survive(name, count):
    result = check(from_torchvision(name), 'net', name)
    assert not result.failed and result.gated == result.convs == count and not result.plain
    assert result.differences[torch.float64] < 1e-12 and result.differences[torch.float32] < 1e-4
    assert result.passed == dict(function='kept', step=f'{count}/{count}', state='equal', export='yes')
    cells = [cell.strip() for cell in table([result]).splitlines()[2].split('|')]
    assert cells[1:3] == [name, f'{count}/{count}'] and cells[5:9] == list(result.passed.values())


class Net(nn.Module):
    """Two convolutions; a subclass does something wrong where it is gated."""

    def __init__(self, gated):
        super().__init__()
        self.gated, self.steps = gated, 0
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        if gated:
            convert_to_cgc(self)
            self.spoil()

    def spoil(self):
        pass

    def forward(self, x):
        y = self.body(x).mean((2, 3))
        return self.wrong(y) if self.gated else y

    def wrong(self, y):
        return y


class NotBuilt(Net):
    def spoil(self):
        raise KeyError('no such option')


class WrongInEval(Net):
    def wrong(self, y):
        return y if self.training else y * (1 + 2e-5)


class WrongInTraining(Net):
    def wrong(self, y):
        return y * (1 + 2e-5) if self.training else y


class WrongInFloat32(Net):
    def wrong(self, y):
        return y * 1.1 if y.dtype == torch.float32 else y


class OtherKeys(Net):
    def spoil(self):
        self.body.add_module('more', nn.PReLU(init=1))


class GatesStandStill(Net):
    def spoil(self):
        self.body[3].gate.requires_grad_(False)


class NotFinite(Net):
    def wrong(self, y):
        return y * (1 if not torch.is_grad_enabled() else float('inf'))


class RemembersSteps(Net):
    def wrong(self, y):
        self.steps += torch.is_grad_enabled()
        return y + self.steps


class DependsOnData(Net):
    def wrong(self, y):
        return y if y.sum() > 0 else y + 0


class ExportsSomethingElse(Net):
    def wrong(self, y):
        return y + 1 if torch.compiler.is_exporting() else y


class NeverExports(Net):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(x) + 0


FAULTS = {
    NotBuilt: ('build', 'no such option'),
    WrongInEval: ('function', r'differ by 2.0e-05 in eval and \S+ in train mode, torch.float64'),
    WrongInTraining: ('function', 'and 2.0e-05 in train mode, torch.float64'),
    WrongInFloat32: ('function', 'differ by 1.0e-01 in eval .* torch.float32'),
    OtherKeys: ('function', r"a plain checkpoint misses \['body.more.weight'\]"),
    GatesStandStill: ('step', r"moves 1 gates, but not those of \['body.3'\]"),
    NotFinite: ('step', 'are not finite'),
    RemembersSteps: ('state', 'a network with the same state'),
    DependsOnData: ('export', 'data-dependent'),
    ExportsSomethingElse: ('export', 'the exported program differs'),
}


@pytest.mark.parametrize('net', FAULTS)
def test_each_check_fails_alone(net):
    failing, message = FAULTS[net]
    result = check(source(lambda _, gated: net(gated)), 'net', 'lib net')
    if net is NotFinite:  # its state is then not comparable
        del result.failed['state'], result.failed['export']
    assert list(result.failed) == [failing]
    with pytest.raises(ValueError, match=message):
        raise ValueError(result.failed[failing])
    assert f'lib net: {failing} failed: {result.failed[failing]}' in table([result])


def test_an_export_that_the_plain_network_lacks_is_not_asked_for():
    result = check(source(lambda _, gated: NeverExports(gated)), 'net', 'net')
    assert not result.failed and result.passed['export'] == 'as plain: no'


def test_what_stays_plain_is_listed():
    net = nn.Sequential(nn.ConvTranspose2d(3, 3, 2), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    result = check(
        source(lambda _, gated: convert_to_cgc(copy.deepcopy(net)) if gated else copy.deepcopy(net)), 'net', 'net'
    )
    assert (result.gated, result.convs) == (1, 2) and 'net: 0 stays plain: only nn.Conv1d' in table([result])


def test_what_is_missing_is_named():
    result = check(source(lambda _, gated: Net(gated), needs='no_such_module'), 'net', 'net')
    assert result.failed['build'].endswith('pip install a-package') and 'no_such_module' in result.failed['build']


def test_silent_branches_are_woken():
    net = Net(False)
    nn.init.zeros_(net.body[1].weight)
    nn.init.zeros_(net.body[3].weight)
    check_networks._wake(net)
    assert net.body[1].weight.std() > 0.01 and net.body[3].weight.std() > 0.01


@pytest.fixture
def own_log_level():
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    logger.setLevel(level)


def test_a_failure_stops_nothing_and_is_the_exit_status(monkeypatch, capsys, own_log_level):
    sources = dict(good=source(lambda _, gated: Net(gated)), bad=source(lambda _, gated: NotBuilt(gated)))
    for module in (check_networks, neighbours):
        monkeypatch.setattr(module, 'SOURCES', sources)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['check_networks.py', *words])
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(ROOT / 'tools/analysis/check_networks.py'), run_name='__main__')
        return exit.value.code, capsys.readouterr().out

    code, text = run('--source', 'good')
    assert code == 0 and '| good net | 2/2' in ' '.join(text.split())
    code, text = run('net')
    assert code == 1 and '| good net' in text and '| bad net' in text and 'bad net: build failed: KeyError' in text
    code, text = run('other')
    assert code.startswith('error: no list has other') and 'good, bad' in code


def test_torchvision_by_name():
    assert len(gated_layers(neighbours.SOURCES['torchvision'].build('squeezenet1_1', True))) == 9


def test_a_recipe_by_config():
    """As for mmdet and mmseg, with the library that is installed here."""
    plain, gated = (neighbours._recipe('mmpretrain')('resnet/resnet18_8xb32_in1k', gated) for gated in (False, True))
    assert type(plain).__name__ == type(gated).__name__ == 'ImageClassifier'
    assert len(gated_layers(gated)) == 17 and not gated_layers(plain)


def test_operators_that_are_missing_say_so_when_called():
    with pytest.raises(ImportError, match='nms is an operator of the full mmcv'):
        missing_operators._Operators('mmcv._ext').nms(1)
