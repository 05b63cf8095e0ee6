"""A config with gates says how many there are, and warns where there is none."""

import pytest
from mmpretrain.registry import MODELS

from mmcgc.engine import gate_report
from mmcgc.engine.gate_report import report_gates

GATES = dict(type='CGConv')
CASES = {
    'all': (dict(type='mmpretrain.ResNet', depth=18, conv_cfg=GATES), '17 of 17 convolutions'),
    'frozen': (
        dict(type='mmpretrain.ResNet', depth=50, conv_cfg=GATES, frozen_stages=1),
        '17 of 17 convolutions with more than one kernel element are gated; '
        '13 of 17 gates learn, the others are frozen',
    ),
    'a-part': (dict(type='mmpretrain.MobileViT', arch='xx_small', conv_cfg=GATES), ' of 14 convolutions'),
    'none': (dict(type='mmpretrain.RepLKNet', arch='31B', conv_cfg=GATES), 'the config asks for CGConv, but no conv'),
    'plain': (dict(type='mmpretrain.ResNet', depth=18), None),
}


@pytest.mark.parametrize('cfg, words', CASES.values(), ids=CASES)
def test_what_is_said(cfg, words, monkeypatch):
    said = []
    monkeypatch.setattr(gate_report, 'print_log', lambda text, **_: said.append(text))
    report_gates(MODELS.build(cfg), dict(backbone=cfg))
    assert len(said) == (words is not None) and (words or '') in ''.join(said)


def test_repvgg_is_not_folded():
    model = MODELS.build(dict(type='mmpretrain.RepVGG', arch='A0', conv_cfg=GATES))
    report_gates(model, {})
    with pytest.raises(ValueError, match='switch_to_deploy folds kernels into one'):
        model.switch_to_deploy()
