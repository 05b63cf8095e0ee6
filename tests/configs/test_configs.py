"""Every leaf under configs/: it resolves, builds, learns, and is what its name says."""

import subprocess
import sys
import warnings
from copy import deepcopy

import mmcv
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

CONFIGS = ROOT / 'configs'
APART = ('_base_', 'detection', 'segmentation')  # no leaves, and leaves that only mmdet and mmseg can read
LEAVES = {path.stem: path for path in sorted(CONFIGS.rglob('*.py')) if not {*APART} & {*path.parts}}
LOADED = {name: Config.fromfile(path) for name, path in LEAVES.items()}
IMAGE_LEAVES = [name for name, config in LOADED.items() if config.default_scope == 'mmpretrain']
TWINS = [name for name in IMAGE_LEAVES if name.startswith('cgc-') and name.removeprefix('cgc-') in LEAVES]
SIZES = {'mmcgc.CIFAR10': 32, 'mmcgc.Digits': 16}
PARAMETERS = {
    'resnet110_1xb128-164e_cifar10': 1_730_714,
    'cgc-resnet110_1xb128-164e_cifar10': 1_797_681,
    'cgc-resnet18_8xb32_in1k': 11_721_791,
    'cgc-resnet34_8xb32_in1k': 21_858_479,
    'cgc-resnet50_8xb32_in1k': 25_589_951,
    'cgc-resnet101_8xb32_in1k': 44_614_838,
}


def load(name):
    return deepcopy(LOADED[name])


def build_model(config):
    """The model as the runner builds it: with the data preprocessor of the config."""
    if 'data_preprocessor' in config:
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    if 'source_vocabulary' in config.model:  # translation: sizes instead of files that come with the data
        config.model.update(source_vocabulary=8848, target_vocabulary=6632)
    with MODELS.switch_scope_and_registry(config.default_scope) as registry:
        return registry.build(config.model)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_file_names_are_unique():
    names = [path.name for path in CONFIGS.rglob('*.py')]
    assert len(names) == len(set(names)) and len(LEAVES) >= 8


@pytest.mark.parametrize('name', LEAVES)
def test_every_parameter_is_optimised_once(name):
    config = load(name)
    model = build_model(config)
    with MODELS.switch_scope_and_registry(config.default_scope):
        optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    optimised = [id(p) for group in optimizer.param_groups for p in group['params']]
    assert sorted(optimised) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('name', IMAGE_LEAVES)
def test_every_parameter_gets_a_gradient(name):
    config = load(name)
    torch.manual_seed(0)
    model = build_model(config).train()
    model.init_weights()
    size = SIZES.get(config.train_dataloader.dataset.type, 64)  # less than ImageNet's 224, to be quick
    batch = dict(
        inputs=torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(label) for label in range(4)],
    )
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    loss = model.parse_losses(losses)[0]
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize('name', IMAGE_LEAVES)
def test_data_sets_and_pipelines_resolve(name):
    config = load(name)
    for phase in ('train', 'val', 'test'):
        dataset = config[f'{phase}_dataloader'].dataset
        with DATASETS.switch_scope_and_registry(config.default_scope) as registry:
            built = registry.build(dict(dataset, lazy_init=True))
        assert len(built.pipeline.transforms) == len(dataset.pipeline)
        assert len(built.metainfo['classes']) == config.model.head.num_classes
        assert (dataset.get('split') == 'train') == (phase == 'train')


@pytest.mark.parametrize('name', TWINS)
def test_a_gated_leaf_differs_from_its_twin_by_one_line(name):
    gated, plain = load(name), load(name.removeprefix('cgc-'))
    assert gated.model.backbone.pop('conv_cfg') == dict(type='CGConv')
    assert gated.to_dict() == plain.to_dict()


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters_are_exact(name):
    assert count(build_model(load(name))) == PARAMETERS[name]


def test_the_imagenet_leaf_without_gates_is_the_plain_network():
    config = load('cgc-resnet50_8xb32_in1k')
    config.model.backbone.pop('conv_cfg')
    assert count(build_model(config)) == 25_557_032


@pytest.mark.parametrize('name', LEAVES)
def test_a_leaf_imports_the_package_itself(name):
    assert load(name).custom_imports == dict(imports=['mmcgc'], allow_failed_imports=False)


def folders():
    """All folders with leaves; one of each library is enough for the quick run."""
    for folder in sorted({path.parent for path in LEAVES.values()}):
        marks = [] if folder.name in ('imagenet', 'tsm', 'iwslt14') else [pytest.mark.slow]
        yield pytest.param(folder, id=folder.name, marks=marks)


@pytest.mark.parametrize('folder', folders())
def test_a_leaf_builds_where_only_mmengine_was_imported(folder, tmp_path):
    """As in the tools of mmpretrain: a fresh process, the config, the runner."""
    leaf = next(path for path in LEAVES.values() if path.parent == folder)
    script = (
        'import sys; from mmengine.config import Config; from mmengine.runner import Runner\n'
        'config = Config.fromfile(sys.argv[1]); config.work_dir = sys.argv[2]\n'
        'config.model.update({key: 8 for key in config.model if key.endswith("_vocabulary")})\n'
        'names = [type(module).__name__ for module in Runner.from_cfg(config).model.modules()]\n'
        'print(sum(name.startswith(("CGConv", "CGLightweightConv")) for name in names))'
    )
    run = subprocess.run([sys.executable, '-c', script, str(leaf), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (int(run.stdout.splitlines()[-1]) > 0) == ('cgc' in leaf.stem)


@pytest.mark.parametrize('name', [name for name in LEAVES if 'camera-motion' in name])
def test_camera_motion_starts_and_takes_a_step(name):
    from mmaction.structures import ActionDataSample

    config = load(name)
    model = build_model(config)
    model.init_weights()
    batch = dict(
        inputs=[torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8) for _ in range(2)],
        data_samples=[ActionDataSample().set_gt_label(label) for label in (0, 7)],
    )
    losses = model.train()(**model.data_preprocessor(batch, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('name', [name for name in LEAVES if name.endswith('_digits')])
def test_the_quick_start_loads_real_batches_without_warning(name):
    config = load(name)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with DATASETS.switch_scope_and_registry(config.default_scope):
            loader = Runner.build_dataloader(config.train_dataloader, seed=0)
        batch = next(iter(loader))
    assert batch['inputs'].shape == (config.train_dataloader.batch_size, 3, 16, 16)
    assert batch['inputs'].dtype == torch.uint8 and batch['inputs'].max() > 200


@pytest.mark.parametrize('kept', [0.02, 0.5, 0.99])
@pytest.mark.parametrize('pipeline', ['train_pipeline', 'test_pipeline'])
def test_a_truncated_image_is_named(tmp_path, pipeline, kept):
    """It is refused, not filled up with grey."""
    config = load('cgc-resnet50_8xb32_in1k')
    with DATASETS.switch_scope_and_registry(config.default_scope):
        transform = Compose(config[pipeline])
    path = tmp_path / 'picture.jpg'
    mmcv.imwrite(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8), str(path))
    assert transform(dict(img_path=str(path), gt_label=0))['inputs'].shape == (3, 224, 224)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(Exception, match='picture.jpg'):
        transform(dict(img_path=str(path), gt_label=0))
