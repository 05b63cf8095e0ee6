"""TSM's learning rates: where every parameter of every video config goes, gates included."""

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmcgc import CGConv2d, ContextGate

CONFIGS = ROOT / 'configs' / 'action'
LEAVES = {path.stem: path for path in sorted(CONFIGS.rglob('*sthv1*.py')) + sorted(CONFIGS.rglob('*kinetics*.py'))}
# (times the learning rate, weight decay) as the TSM paper's code base has them, and mmaction2 after it
FIRST_WEIGHT = WEIGHT = (1, True)
NORM = (1, False)
BIAS = (2, False)
HEAD_WEIGHT = (5, True)
HEAD_BIAS = (10, False)
TSM = dict(
    constructor='mmcgc.GatedTSMOptimWrapperConstructor',
    paramwise_cfg=dict(fc_lr5=True),
    optimizer=dict(type='SGD', lr=1.0, weight_decay=1.0),
)


def treatment(model, optim_wrapper):
    """{name: (times the learning rate, whether it decays)} of every parameter in the optimiser; each is there once."""
    optimizer = build_optim_wrapper(model, optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimised = [
        (names[id(p)], (group['lr'] / optim_wrapper['optimizer']['lr'], group['weight_decay'] > 0))
        for group in optimizer.param_groups
        for p in group['params']
    ]
    assert len(optimised) == len(dict(optimised))
    return dict(optimised)


def expected(model):
    """By the kind of the module that owns the parameter."""
    rules = {}
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        head = name == 'cls_head.fc_cls'
        for kind, _ in module.named_parameters(recurse=False):
            if norm:
                rule = NORM
            elif kind == 'bias':
                rule = HEAD_BIAS if head else BIAS
            else:
                rule = HEAD_WEIGHT if head else WEIGHT
            rules[f'{name}.{kind}'.removeprefix('.')] = rule
    return rules


@pytest.mark.parametrize('name', LEAVES)
def test_every_parameter_of_a_config_is_treated_as_its_kind(name):
    config = Config.fromfile(LEAVES[name])
    with torch.device('meta'), MODELS.switch_scope_and_registry(config.default_scope) as registry:
        model = registry.build(config.model)
    assert treatment(model, config.optim_wrapper) == expected(model)
    gates = [m for m in model.modules() if isinstance(m, ContextGate)]
    assert (len(gates) > 0) == ('cgc' in name)


class Net(nn.Module):
    """Two gated convolutions with biases, and a head."""

    def __init__(self, **options):
        super().__init__()
        self.first = CGConv2d(3, 8, 3, **options)
        self.second = CGConv2d(8, 8, 3, **options)
        self.fc_cls = nn.Linear(8, 2)


def test_biases_of_gated_convolutions_learn():
    """mmaction2's own constructor leaves them out."""
    net = Net(bias=True)
    own = dict(TSM, constructor='mmaction.TSMOptimWrapperConstructor')
    assert {'first.bias', 'second.bias'}.isdisjoint(treatment(net, own))
    treated = treatment(net, TSM)
    assert set(treated) == {name for name, _ in net.named_parameters()}
    assert treated['first.bias'] == treated['second.bias'] == BIAS
    assert treated['fc_cls.bias'] == HEAD_BIAS and treated['first.gate.decode_in.weight'] == WEIGHT


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(gate=dict(temporal_decoder='additive'), num_segments=4),
        dict(gate=dict(norm='group')),
        dict(gate=dict(norm='none')),
    ],
    ids=['joint', 'additive', 'group-norm', 'no-norm'],
)
def test_equals_mmaction2_where_nothing_is_missing(options):
    net = Net(bias=False, **options)
    assert treatment(net, TSM) == treatment(net, dict(TSM, constructor='mmaction.TSMOptimWrapperConstructor'))


def test_a_parameter_without_a_rule_is_refused_by_name():
    net = Net()
    net.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match='scale'):
        treatment(net, TSM)
    net.scale.requires_grad_(False)
    assert 'scale' not in treatment(net, TSM)
