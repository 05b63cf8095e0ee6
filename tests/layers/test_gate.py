"""ContextGate against the gate written out, for every switch; parameter counts of the switches."""

import pytest
import torch
from helpers import assert_close
from reference_gate import reference_gate
from torch import nn

from mmcgc import ContextGate

SWITCHES = {
    'default': {},
    'only-in': dict(branches='in'),
    'only-out': dict(branches='out'),
    'product': dict(combine='product'),
    'sigmoid-product': dict(combine='sigmoid_product'),
    'one-group': dict(channel_groups=1),
    'latent-full': dict(latent='full'),
    'latent-3': dict(latent=3),
    'shared-norm': dict(shared_norm=True),
    'two-encodings': dict(separate_encoding=True),
    'shared-decoder': dict(shared_decoder=True),
    'pool-scale-2': dict(pool_scale=2),
    'max-pool': dict(pool='max'),
    'xavier': dict(init='xavier'),
    'torch': dict(init='torch'),
    'group-norm': dict(norm='group'),
    'layer-norm': dict(norm='layer'),
    'no-norm': dict(norm='none'),
    'group-norm-two-encodings': dict(norm='group', separate_encoding=True, shared_norm=True),
}
# in, out, kernel, input
SHAPES = [(32, 48, (3, 3), (9, 8)), (3, 16, (7, 7), (15, 15)), (24, 24, (3, 3), (2, 2)), (6, 4, (5,), (7,)),
          (8, 8, (3, 1, 1), (6, 4, 5)), (20, 30, (1, 5), (4, 1)), (17, 19, (2, 2), (5, 5))]  # fmt: skip


def build(*args, **kwargs):
    torch.manual_seed(0)
    gate = ContextGate(*args, **kwargs).double()
    for module in gate.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.GroupNorm)):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return gate


def compare(gate, x):
    parameters = list(gate.parameters())
    results = []
    for terms in (gate(x), reference_gate(gate, x)):
        terms = [t for t in terms if t is not None]
        loss = sum((t * torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t)).sum() for t in terms)
        results.append([*terms, *torch.autograd.grad(loss, [x, *parameters])])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('switch', SWITCHES.values(), ids=SWITCHES.keys())
def test_switches(switch, training):
    gate = build(32, 48, (3, 3), **switch).train(training)
    compare(gate, torch.randn(3, 32, 9, 8, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('shape', SHAPES, ids=lambda s: str(s).replace(' ', ''))
def test_shapes(shape, batch):
    c, o, kernel, size = shape
    compare(build(c, o, kernel), torch.randn(batch, c, *size, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize('decoder', ['joint', 'additive'])
@pytest.mark.parametrize('pool', ['avg', 'max'])
@pytest.mark.parametrize('frames', [2, 8])
def test_clips(decoder, pool, frames):
    gate = build(16, 32, (3, 3), frames, temporal_decoder=decoder, pool=pool)
    assert gate.pool_size == (3, 3, 3) and gate.latent == 14
    compare(gate, torch.randn(2 * frames, 16, 7, 6, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize('norm', ['group', 'layer', 'none'])
def test_clips_with_other_norms(norm):
    compare(build(16, 32, (3, 3), 2, norm=norm), torch.randn(4, 16, 7, 6, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize('norm, groups, parameters', [
    ('batch', None, 2 * (32 + 32 + 48)), ('group', 2, 2 * (32 + 32 + 48)), ('layer', 1, 2 * (32 + 32 + 48)),
    ('none', None, 0),
], ids=['batch', 'group', 'layer', 'none'])  # fmt: skip
def test_parameters_of_the_norms(norm, groups, parameters):
    gate = ContextGate(32, 48, (3, 3), norm=norm)
    norms = [gate.context_norm, gate.interact_norm, gate.interacted_norm]
    assert sum(p.numel() for m in norms for p in m.parameters()) == parameters
    assert {getattr(m, 'num_groups', None) for m in norms} == {groups}
    assert norm == 'batch' or not list(gate.buffers())


@pytest.mark.parametrize('norm', ['group', 'layer', 'none'])
def test_other_norms_know_neither_batch_nor_mode(norm):
    gate, x = build(16, 16, (3, 3), norm=norm), torch.randn(3, 16, 5, 5, dtype=torch.float64)
    for a, b, c in zip(gate.train()(x), gate(x[:1]), gate.eval()(x), strict=True):
        assert_close(a[:1], b)
        assert torch.equal(a, c)


def test_channels_last_gives_the_same():
    gate, x = build(32, 48, (3, 3)), torch.randn(3, 32, 9, 8, dtype=torch.float64)
    for a, b in zip(gate(x.contiguous(memory_format=torch.channels_last)), gate(x), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize(
    'c, o, groups',
    [(64, 64, 4), (3, 64, 1), (16, 32, 1), (24, 24, 2), (48, 16, 4), (32, 3, 1), (40, 20, 4), (17, 17, 17)],
)
def test_channel_groups(c, o, groups):
    # The largest divisor cg <= 16 of c for which c / cg divides o; one full linear layer where there is none.
    assert ContextGate(c, o, (3, 3)).channel_groups == groups


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(latent='wide'), "latent='wide'"),
        (dict(latent=0), 'latent=0'),
        (dict(pool='mean'), "pool='mean'"),
        (dict(pool_scale=0), 'pool_scale=0'),
        (dict(branches='none'), "branches='none'"),
        (dict(branches='in', shared_norm=True), 'leaves one term'),
        (dict(combine='add'), "combine='add'"),
        (dict(channel_groups=5), 'channel_groups=5'),
        (dict(init='he'), "init='he'"),
        (dict(norm='instance'), "norm='instance'"),
        (dict(init='preserve', combine='product', shared_decoder=True), 'never learn'),
    ],
    ids=lambda v: v if isinstance(v, str) else '',
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        ContextGate(32, 32, (3, 3), **options)


def test_context_of_another_precision_than_the_layer(monkeypatch):
    """As on a GPU, where pooling sums in float32."""
    gate = ContextGate(16, 16, (3, 3)).bfloat16()
    x = torch.randn(2, 16, 5, 5).bfloat16()
    expected = gate(x)
    monkeypatch.setattr(gate, '_pool', lambda x, pool=gate._pool: pool(x).float())
    for term, same in zip(gate(x), expected, strict=True):
        assert term.dtype == torch.bfloat16 and torch.equal(term, same)


def test_terms_are_not_cast_under_autocast():
    gate, x = ContextGate(16, 16, (3, 3)), torch.randn(2, 16, 5, 5).bfloat16()
    expected = gate(x.float())
    with torch.autocast('cpu', torch.bfloat16):
        for term, true in zip(gate(x), expected, strict=True):
            assert term.dtype == torch.float32 and (term - true).norm() < 0.03 * true.norm()


def test_one_value_for_a_norm_is_refused_as_usual():
    gate = ContextGate(4, 4, (3, 3), latent=1)
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        gate(torch.randn(1, 4, 7, 6))
    assert gate.eval()(torch.randn(1, 4, 7, 6))[0].shape == (1, 4, 3, 3)
