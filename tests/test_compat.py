"""The remedies for upstream breakages, and what a checkpoint from a stranger can do: nothing."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections import OrderedDict
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmcgc import compat


def python(code: str, *paths) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter that sees ``paths`` before everything else."""
    path = os.pathsep.join([*map(str, paths), str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=300,
    )


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


def test_applying_twice_changes_nothing():
    compat.apply()
    loader = CheckpointLoader.load_checkpoint.__func__
    compat.apply()
    assert CheckpointLoader.load_checkpoint.__func__ is loader


@pytest.mark.parametrize('version', ['1.7.0', '2.0.0rc3'])
def test_an_old_mmcv_is_refused(monkeypatch, version):
    monkeypatch.setattr(mmcv, '__version__', version)
    with pytest.raises(ImportError, match=rf'(?s){version}.*pip install mmcv-lite==2.1.0'):
        compat.check_mmcv()


def test_a_missing_mmcv_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    with pytest.raises(ImportError, match='pip install mmcv-lite==2.1.0'):
        compat.check_mmcv()


def test_an_mmcv_that_mmaction2_refuses_only_warns(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '2.2.0')
    with pytest.warns(UserWarning, match='mmaction2 1.2.0 refuses mmcv 2.2.0'):
        compat.check_mmcv()


IMPORT = """
    import sys, time
    import torch, mmengine.runner, mmcv
    start = time.process_time()
    import mmcgc
    print(time.process_time() - start)
    heavy = ('torchvision', 'mmpretrain', 'mmaction', 'decord', 'matplotlib', 'sklearn', 'scipy', 'timm', 'onnx',
             'pytorch_grad_cam', 'fvcore', 'tensorboard', 'sacrebleu', 'sacremoses', 'subword_nmt', 'num2words')
    print([name for name in heavy if name in sys.modules])
"""


def test_import_stays_light():
    """Less than a second of CPU time beyond the libraries that it cannot do without, and none of the others."""
    seconds = []
    for _ in range(3):  # of a busy machine the best
        done = python(IMPORT)
        assert done.returncode == 0, done.stderr
        took, heavy = done.stdout.splitlines()
        assert heavy == '[]'
        seconds.append(float(took))
        if seconds[-1] < 1:
            return
    pytest.fail(f'import mmcgc took {seconds} s')


def test_the_libraries_can_be_imported():
    done = python('import mmcgc, torchvision, mmpretrain.models, mmaction.models')
    assert done.returncode == 0, done.stderr


USE_DRN = """
    {first}
    from mmaction.models.localizers.drn.drn import DRN
    try:
        print(DRN())
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize(
    'first',
    ['import mmcgc', pytest.param('import mmaction, mmcgc', marks=pytest.mark.slow)],
    ids=['first', 'after-mmaction'],
)
def test_drn_is_stubbed_where_it_is_missing(tmp_path, first):
    folder = tmp_path / 'mmaction/models/localizers'
    folder.mkdir(parents=True)
    for package in (folder, *list(folder.parents)[:2]):
        (package / '__init__.py').touch()
    assert 'install mmaction2 from its repository' in python(USE_DRN.format(first=first), tmp_path).stdout
    assert 'No module named' in python(USE_DRN.format(first=''), tmp_path).stderr, 'the stub is not what helped'
    (folder / 'drn').mkdir()
    (folder / 'drn/__init__.py').touch()
    (folder / 'drn/drn.py').write_text('class DRN:\n    def __repr__(self):\n        return "the real one"\n')
    assert python(USE_DRN.format(first=first), tmp_path).stdout.strip() == 'the real one'


@pytest.mark.slow
def test_a_transformers_that_multimodal_models_cannot_use_is_left_out(tmp_path):
    folder, about = tmp_path / 'transformers', tmp_path / 'transformers-5.17.0.dist-info'
    folder.mkdir()
    about.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'modeling_utils.py').touch()
    (about / 'METADATA').write_text('Metadata-Version: 2.1\nName: transformers\nVersion: 5.17.0\n')
    video = 'import mmaction.models; from mmaction.utils.dependency import WITH_MULTIMODAL as with_it; print(with_it)'
    without = python(f'import sys, mmcgc; sys.modules.pop("mmaction.utils.dependency"); {video}', tmp_path)
    assert 'transformers' in without.stderr, 'it can be imported without help'
    done = python(f'import mmcgc; {video}; import mmpretrain.models', tmp_path)
    assert done.stdout.strip() == 'False', done.stderr
    (folder / 'modeling_utils.py').write_text('def apply_chunking_to_forward(): ...')
    done = python('import sys, mmcgc; print("mmaction.utils.dependency" in sys.modules)', tmp_path)
    assert done.stdout.strip() == 'False', 'nothing needed help'


FAKE_TORCHVISION = """
    import torch
    for name in ('nms', 'qnms'):
        torch.library.register_fake(f'torchvision::{name}', lambda dets, scores, iou_threshold: dets)
"""


@pytest.mark.parametrize(
    'library', [pytest.param(None, marks=pytest.mark.slow), b'no library'], ids=['absent', 'broken']
)
def test_torchvision_imports_where_its_library_does_not_load(tmp_path, library):
    folder = tmp_path / 'torchvision'
    folder.mkdir()
    (folder / '__init__.py').write_text(textwrap.dedent(FAKE_TORCHVISION))
    if library:
        (folder / '_C.so').write_bytes(library)
    assert 'torchvision::nms does not exist' in python('import torchvision', tmp_path).stderr
    done = python('import mmcgc, torchvision; print(torchvision.__file__)', tmp_path)
    assert done.stdout.strip() == str(folder / '__init__.py'), done.stderr


def test_a_torchvision_whose_library_loads_is_left_alone(tmp_path):
    folder = tmp_path / 'torchvision'
    folder.mkdir()
    (folder / '__init__.py').write_text(textwrap.dedent(FAKE_TORCHVISION))
    shutil.copy(torch._C.__file__, folder / '_C.so')
    assert 'torchvision::nms does not exist' in python('import mmcgc, torchvision', tmp_path).stderr


def test_action_heads_take_bfloat16_scores(monkeypatch):
    from mmaction.models import TSNHead
    from mmaction.models.heads.base import BaseHead
    from mmaction.structures import ActionDataSample
    from mmengine.registry import DefaultScope

    for name in ('loss_by_feat', 'predict_by_feat'):
        method = getattr(BaseHead, name)
        monkeypatch.setattr(BaseHead, name, getattr(method, '__wrapped__', method))
    with DefaultScope.overwrite_default_scope('mmaction'):
        head = TSNHead(num_classes=2, in_channels=4)
    scores = torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16)
    samples = [ActionDataSample().set_gt_label(0)]
    with pytest.raises(TypeError, match='BFloat16'):
        head.loss_by_feat(scores, samples)
    compat.widen_action_scores()
    assert head.loss_by_feat(scores, samples)['loss_cls'].item() > 0
    assert head.predict_by_feat(scores, samples)[0].pred_score.dtype == torch.float32


def test_a_checkpoint_without_a_name():
    """What mmaction2's ResNetTSM asks for with pretrained=None."""
    with pytest.raises(ValueError, match='pretrained2d=False'):
        CheckpointLoader.load_checkpoint(None)
