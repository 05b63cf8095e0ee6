"""The remedies for upstream breakages help where they are needed and nowhere else, and the import stays light."""

import os
import shutil
import subprocess
import sys
import textwrap

import mmcv
import pytest
import torch
from helpers import ROOT
from mmengine.runner.checkpoint import CheckpointLoader

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
