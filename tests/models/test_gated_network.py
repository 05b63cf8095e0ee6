"""Any network by one line of a config, with its weights, its initialisation and its arguments."""

import copy
import io

import pytest
import torch
from helpers import assert_close
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mmcgc.layers import gated_layers

CONFIGS = {
    'convnext': (dict(type='ConvNeXt', arch='atto'), 16),
    'mobilevit': (dict(type='MobileViT', arch='xx_small'), 14),
    'efficientnet': (dict(type='EfficientNet', arch='b0'), 17),
    'swin': (dict(type='SwinTransformer', arch='tiny', img_size=64, pad_small_map=True), 1),
    'densenet': (dict(type='DenseNet', arch='121'), 59),
    'poolformer': (dict(type='PoolFormer', arch='s12'), 4),
    'mlp-mixer-stem': (dict(type='VisionTransformer', arch='s', img_size=64, patch_size=16), 1),
}


def build(cfg, **cgc):
    torch.manual_seed(0)
    network = f'mmpretrain.{cfg["type"]}'
    wrapped = dict(cfg, type='mmcgc.GatedNetwork', network=network, **(dict(cgc=cgc) if cgc else {}))
    plain, gated = MODELS.build(dict(cfg, type=network)), MODELS.build(wrapped)
    for model in (plain, gated):
        model.eval()  # which gives nothing back in mmpretrain
    return plain, gated


def last(output):
    return output[-1] if isinstance(output, (tuple, list)) else output


@pytest.mark.parametrize('cfg, count', CONFIGS.values(), ids=CONFIGS)
def test_keeps_the_function_of_plain_weights(cfg, count):
    plain, gated = build(cfg)
    plain.init_weights()
    gated.init_weights()
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all('.gate.' in key for key in missing)
    assert len(gated_layers(gated)) == count and type(gated).__name__ == type(plain).__name__
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(last(gated(x)), last(plain(x)), tolerance=1e-5)


def test_an_initialisation_of_all_linear_layers_leaves_gates_alone():
    _, gated = build(dict(type='SwinTransformer', arch='tiny', img_size=64, pad_small_map=True))
    gated.init_weights()
    gate = gated.patch_embed.projection.gate
    assert not gate.decode_in.weight.any() and not gate.decode_out.weight.any()


def test_options_reach_the_conversion():
    _, gated = build(dict(type='ResNet', depth=18), include=r'layer4', gate=dict(pool='max'))
    layers = gated_layers(gated)
    assert layers and all(name.startswith('layer4') and layer.gate.pool == 'max' for name, layer in layers.items())


def test_copies_and_pickles():
    _, gated = build(dict(type='ResNet', depth=18))
    file, x = io.BytesIO(), torch.randn(1, 3, 64, 64)
    torch.save(gated, file)
    file.seek(0)
    for other in (copy.deepcopy(gated), torch.load(file, weights_only=False)):
        assert_close(last(other(x)), last(gated(x)), tolerance=1e-6)


def test_a_leaf_over_an_inherited_recipe(tmp_path):
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(
        "_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'\n"
        "custom_imports = dict(imports=['mmcgc'])\n"
        "model = dict(backbone=dict(type='mmcgc.GatedNetwork', network='mmpretrain.ConvNeXt'))\n"
    )
    model = MODELS.build(Config.fromfile(leaf).model)
    assert len(gated_layers(model)) == 22 and len(list(model.backbone.stages)) == 4
