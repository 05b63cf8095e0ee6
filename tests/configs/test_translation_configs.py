"""The shipped configs: the paper's parameters exactly, its schedule, and the quick start."""

import re

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from mmcgc.apis import launch
from mmcgc.engine import InverseSqrtLR
from mmcgc.layers import CGLightweightConv, DynamicConv, LightweightConv
from mmcgc.registry import MODELS

CONFIGS = ROOT / 'configs'
PARAMETERS = {
    'transformer': 39_469_056,
    'dynamicconv': 38_685_184,
    'lightconv': 38_139_436,
    'lightconv-dynamic-encoder': 38_443_992,
    'cgc-lightconv': 38_148_144,
}
LEAVES = {path.stem: path for path in [*CONFIGS.glob('translation/*/*.py'), *CONFIGS.glob('quickstart/*lightconv*.py')]}
MULTI30K = ('lightconv', 'lightconv-dynamic-encoder', 'cgc-lightconv')


def load(name: str, recipe: str) -> Config:
    (path,) = CONFIGS.glob(f'*/**/{name}_{recipe}*.py')
    config = Config.fromfile(path)
    if isinstance(config.model.source_vocabulary, str):
        config.model.update(source_vocabulary=8848, target_vocabulary=6632)
    return config


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters_of_the_paper_are_exact(name):
    model = MODELS.build(load(name, '1xt4k-50k_iwslt14').model)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    'name, encoder, decoder',
    [
        ('lightconv', LightweightConv, LightweightConv),
        ('dynamicconv', DynamicConv, DynamicConv),
        ('lightconv-dynamic-encoder', DynamicConv, LightweightConv),
        ('cgc-lightconv', CGLightweightConv, LightweightConv),
    ],
)
def test_token_mixers_and_kernels(name, encoder, decoder):
    model = MODELS.build(load(name, '1xt4k-50k_iwslt14').model)
    convs = [[layer.mixer.layer.conv for layer in side.layers] for side in (model.encoder, model.decoder)]
    assert [type(conv) for conv in convs[0]] == [encoder] * 7
    assert [type(conv) for conv in convs[1]] == [decoder] * 6
    assert [conv.kernel_size for conv in convs[0]] == [3, 7, 15, 31, 31, 31, 31]
    assert [conv.kernel_size for conv in convs[1]] == [3, 7, 15, 31, 31, 31]
    assert all(conv.heads == 4 and conv.weight_dropout == 0.1 for side in convs for conv in side)


@pytest.mark.parametrize('name', LEAVES)
def test_a_leaf_takes_a_step(name):
    config = Config.fromfile(LEAVES[name])
    config.model.update(source_vocabulary=16, target_vocabulary=16)
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    before = {key: value.clone() for key, value in model.named_parameters()}
    sentences = [torch.tensor([5, 9, 4, 7, 8, 2]), torch.tensor([6, 2])]
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    losses = model.train_step(dict(inputs=sentences, targets=sentences), optim_wrapper)
    assert losses['loss'].isfinite()
    after = dict(model.named_parameters())
    assert [key for key in after if not after[key].isfinite().all() or after[key].equal(before[key])] == []


@pytest.mark.parametrize('name', MULTI30K)
def test_rivals_share_everything_but_the_encoders_mixer(name):
    for recipe in ('1xt4k-50k_iwslt14', '1xt4k-1k_multi30k'):
        config, plain = load(name, recipe), load('lightconv', recipe)
        for c in (config, plain):
            c.model.encoder.mixer.pop('conv')
        assert config.to_dict() == plain.to_dict()


@pytest.mark.parametrize('recipe', ['1xt4k-50k_iwslt14', '1xt4k-1k_multi30k', '1xt2k-1k_number-words'])
def test_every_run_can_be_averaged_and_resumed(recipe):
    config = load('cgc-lightconv', recipe)
    hook = config.default_hooks.checkpoint
    assert config.train_cfg.max_iters % hook.interval == 0 == config.train_cfg.max_iters % config.train_cfg.val_interval
    assert not hook.by_epoch and not config.log_processor.by_epoch
    assert 'mmcgc.ResumeBatchesHook' in [hook.type for hook in config.custom_hooks]
    assert config.randomness.seed == 0


def test_learning_rate_rises_and_falls_as_the_inverse_square_root():
    config = load('cgc-lightconv', '1xt4k-50k_iwslt14')
    rate = config.optim_wrapper.optimizer.lr
    optimizer = OptimWrapper(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate))
    scheduler = PARAM_SCHEDULERS.build(dict(config.param_scheduler), default_args=dict(optimizer=optimizer, end=50_000))
    rates = []
    for _ in range(16_000):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert [rates[i - 1] for i in (1, 2000, 4000, 16_000)] == pytest.approx([1.25e-7, 2.5e-4, 5e-4, 2.5e-4])
    resumed = InverseSqrtLR(optimizer, 4000, by_epoch=False)
    resumed.load_state_dict(scheduler.state_dict())
    optimizer.step()
    resumed.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(5e-4 * (4000 / 16_002) ** 0.5)


@pytest.mark.parametrize('options', [dict(warmup=0, by_epoch=False), dict(warmup=10)], ids=['warmup', 'by_epoch'])
def test_unfit_schedules_are_refused(options):
    with pytest.raises(ValueError, match='InverseSqrtLR counts iterations'):
        InverseSqrtLR(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), **options)


@pytest.mark.slow
def test_the_quick_start_translates_unseen_numbers(tmp_path, own_scope):
    path = CONFIGS / 'quickstart/cgc-lightconv_1xt2k-1k_number-words.py'
    launch.train(str(path), work_dir=str(tmp_path))
    metrics = launch.test(str(path), str(tmp_path / 'iter_1000.pth'), work_dir=str(tmp_path))
    assert metrics['accuracy/exact_match'] > 95
    assert len(re.findall('exact_match', (tmp_path / 'curves.csv').read_text())) == 4
    assert (tmp_path / 'curves.png').stat().st_size > 10_000
