"""CheckpointMatchHook: checkpoints that fit raise no alarm, whatever form they have."""

from types import SimpleNamespace

import pytest
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmcgc.engine import CheckpointMatchHook


def check(model: nn.Module, checkpoint: dict, exact: bool) -> None:
    CheckpointMatchHook(exact).after_load_checkpoint(SimpleNamespace(model=model, _load_from='x.pth'), checkpoint)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    'checkpoint',
    [
        network().state_dict(),
        dict(state_dict=network().state_dict()),
        dict(state_dict={f'module.{key}': value for key, value in network().state_dict().items()}),
        dict(state_dict={key: value for key, value in network().state_dict().items() if 'batches' not in key}),
        dict(state_dict=network().state_dict(), ema_state_dict=ExponentialMovingAverage(network()).state_dict()),
    ],
    ids=['bare', 'wrapped', 'data-parallel', 'old', 'ema'],
)
def test_fitting_checkpoints_raise_no_alarm(checkpoint):
    check(network(), checkpoint, exact=True)


def test_nothing_that_fits_is_refused_in_fine_tuning():
    state = {f'backbone.{key}': value for key, value in network().state_dict().items()}
    with pytest.raises(ValueError, match=r'nothing in x.pth fits Sequential.*0\.weight.*backbone\.0\.weight'):
        check(network(), dict(state_dict=state), exact=False)
