"""A stranger's checkpoint can do nothing, MMEngine's own can be read, and a refusal says which file it is about."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import mmcgc  # noqa: F401  sets the guard


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def write(content, path, kind: str):
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == 'zip')
    return str(path)


KINDS = pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])


@KINDS
def test_a_checkpoint_cannot_run_a_command(tmp_path, kind):
    marker = tmp_path / 'marker'
    path = write(dict(state_dict=Call(os.system, f'touch {marker}')), tmp_path / 'evil.pth', kind)
    with pytest.raises(pickle.UnpicklingError, match=rf'(?s){path}.*posix.system.*nothing was loaded') as info:
        load_checkpoint(nn.Linear(1, 1), path)
    assert not marker.exists() and 'weights_only' not in str(info.value)
    if kind != 'pickle':
        torch.load(path, weights_only=False)
        assert marker.exists(), 'the payload is harmless, so the test shows nothing'


@KINDS
@pytest.mark.parametrize(
    'args',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, 'update'),
        ({}, 'update'),
        (OrderedDict, 'mean'),
        (OneCycleParamScheduler, 'mean'),
    ],
    ids=['dunder', 'method', 'instance', 'class', 'scheduler'],
)
def test_a_checkpoint_cannot_use_getattr(tmp_path, kind, args):
    path = write(dict(meta=Call(getattr, *args)), tmp_path / 'evil.pth', kind)
    with pytest.raises(pickle.UnpicklingError, match='builtins.getattr'):
        load_checkpoint(nn.Linear(1, 1), path)


def test_what_getattr_gives_cannot_be_called(tmp_path):
    mean = b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\nX\x04\x00\x00\x00mean\x86R'
    load = torch._weights_only_unpickler.load
    assert load(io.BytesIO(b'\x80\x02' + mean + b'.')) is HistoryBuffer.mean
    path = tmp_path / 'evil.pth'
    path.write_bytes(b'\x80\x02' + mean + b')R.')
    with pytest.raises(pickle.UnpicklingError, match='bare pickle.*is refused.*nothing was loaded'):
        CheckpointLoader.load_checkpoint(str(path))


CODE = '__import__("os").system("touch marker")\n'
FIELDS = [('epoch', '<i8'), ('config', f'<U{len(CODE)}'), ('also', '<U6')]


def shadowing(method: str, **items) -> OrderedDict:
    """A dict whose own ``method`` is not what it seems."""
    content = OrderedDict(items)
    setattr(content, method, set)
    return content


@pytest.mark.parametrize(
    'content',
    [
        dict(meta=dict(config=CODE, cfg='a = 1', epoch=1)),
        shadowing('get', meta=dict(config=CODE, epoch=1)),
        dict(meta=shadowing('pop', config=CODE, epoch=1)),
    ],
    ids=['dict', 'get', 'pop'],
)
def test_the_config_inside_a_checkpoint_is_dropped(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    meta = CheckpointLoader.load_checkpoint(write(content, tmp_path / 'evil.pth', 'zip'))['meta']
    assert 'config' not in meta and meta['epoch'] == 1
    Config.fromstring(CODE, '.py')
    assert Path('marker').exists(), 'MMEngine does not run it, so the test shows nothing'


def test_a_record_cannot_pass_for_the_meta(tmp_path):
    record = np.array([(1, CODE, 'config')], dtype=FIELDS)[0]
    scalar = Call(np.float64(0).__reduce__()[0], Call(np.dtype, FIELDS), record.tobytes())
    with pytest.raises(pickle.UnpicklingError, match='numpy.dtype'):
        CheckpointLoader.load_checkpoint(write(dict(meta=scalar), tmp_path / 'evil.pth', 'zip'))


@pytest.mark.parametrize(
    'meta', [HistoryBuffer([1.0], [1]), 'config', torch.zeros(2)], ids=['buffer', 'text', 'tensor']
)
def test_a_meta_that_is_no_dict_is_refused(tmp_path, meta):
    with pytest.raises(ValueError, match="its 'meta' is a"):
        CheckpointLoader.load_checkpoint(write(dict(meta=meta), tmp_path / 'odd.pth', 'zip'))


@pytest.mark.parametrize(
    'value',
    [np.float32(0.5), np.arange(3), np.array(['a', 'bc']), np.bool_(True)],
    ids=['scalar', 'integers', 'text', 'bool'],
)
def test_plain_arrays_can_be_read(tmp_path, value):
    checkpoint = CheckpointLoader.load_checkpoint(write(dict(value=value), tmp_path / 'run.pth', 'zip'))
    np.testing.assert_array_equal(checkpoint['value'], value, strict=True)


def test_what_mmengine_writes_can_be_read(trained):
    checkpoint = CheckpointLoader.load_checkpoint(str(trained / 'epoch_2.pth'))
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and history.mean() == history.statistics('mean')
    assert {'optimizer', 'param_schedulers'} <= set(checkpoint)


ONE_CYCLE = dict(eta_max=1.0, total_steps=4)
SCHEDULERS = dict(
    ConstantLR={},
    CosineAnnealingLR=dict(T_max=4),
    CosineRestartLR=dict(periods=[4], eta_min=0.0),
    LinearLR={},
    ExponentialLR=dict(gamma=0.5),
    MultiStepLR=dict(milestones=[1]),
    StepLR=dict(step_size=1),
    ReduceOnPlateauLR={},
    PolyLR={},
    OneCycleLR=ONE_CYCLE,
    OneCycleLR_linear=dict(ONE_CYCLE, anneal_strategy='linear'),
)


@pytest.mark.parametrize('name, options', SCHEDULERS.items(), ids=SCHEDULERS)
def test_every_scheduler_of_mmengine_can_be_resumed(tmp_path, name, options):
    def build():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
        kind = name.partition('_')[0]
        return PARAM_SCHEDULERS.build(dict(type=kind, **options), default_args=dict(optimizer=optimizer))

    scheduler = build()
    path = write(dict(param_schedulers=[scheduler.state_dict()]), tmp_path / 'run.pth', 'zip')
    resumed = build()
    resumed.load_state_dict(CheckpointLoader.load_checkpoint(path)['param_schedulers'][0])
    for either in (scheduler, resumed):
        either.optimizer.step()
        either.step(*([dict(loss=1.0)] if name == 'ReduceOnPlateauLR' else []))
    assert resumed.get_last_value() == scheduler.get_last_value()


def test_history_buffers_of_both_numpy_generations_can_be_read():
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    for core in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
        written = pickle.dumps(history, protocol=2)
        other = written.replace(b'cnumpy._core.multiarray', b'c' + core).replace(b'cnumpy.core.multiarray', b'c' + core)
        assert b'c' + core in other
        assert torch._weights_only_unpickler.load(io.BytesIO(other)).mean() == 1.5


@pytest.mark.parametrize('keep', [0, 0.5, 0.99], ids=['empty', 'half', 'most'])
@pytest.mark.parametrize('kind', ['zip', 'legacy'])
def test_a_truncated_checkpoint_names_file_and_size(tmp_path, kind, keep):
    path = tmp_path / 'cut.pth'
    write(dict(state_dict=nn.Linear(100, 100).state_dict()), path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match=rf'{path} \({path.stat().st_size} bytes\) is truncated'):
        load_checkpoint(nn.Linear(100, 100), str(path))


@pytest.mark.parametrize(
    'content', [b'<html>not found</html>', b'PK\x03\x04 no archive', b'\x80\x02'], ids=['page', 'archive', 'pickle']
)
def test_what_is_no_checkpoint_names_file_and_size(tmp_path, content):
    path = tmp_path / 'page.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'{path} \({len(content)} bytes\) is truncated or no checkpoint'):
        load_checkpoint(nn.Linear(1, 1), str(path))


def test_a_file_that_holds_no_dict_is_refused(tmp_path):
    path = write(torch.zeros(2), tmp_path / 'tensor.pth', 'zip')
    with pytest.raises(ValueError, match='holds a Tensor'):
        CheckpointLoader.load_checkpoint(path)


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'none.pth'))
    path = write(dict(state_dict=nn.Linear(1, 1).state_dict()), tmp_path / 'fine.pth', 'zip')
    with pytest.raises(RuntimeError, match='deserialize object on'):
        CheckpointLoader.load_checkpoint(path, map_location=_no_such_device)


def _no_such_device(storage, location):
    raise RuntimeError('Attempting to deserialize object on a CUDA device')


def test_a_checkpoint_without_a_name():
    """What mmaction2's ResNetTSM asks for with pretrained=None."""
    with pytest.raises(ValueError, match='pretrained2d=False'):
        CheckpointLoader.load_checkpoint(None)
