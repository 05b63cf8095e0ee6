"""``convert_to_cgc`` keeps the function of every kind of convolution, or says why it leaves one plain."""

import copy
import io
import logging
import warnings

import pytest
import torch
from helpers import assert_close
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from mmcgc import CGConv1d, CGConv2d, CGConv3d, convert_to_cgc
from mmcgc.layers import conversion_plan, gated_layers

warnings.filterwarnings('ignore', category=FutureWarning)


class Same(nn.Conv2d):
    """Padding of its own, before the convolution function."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (2, 0, 0, 2)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Reflected(nn.Conv2d):
    """Padding of its own, before ``_conv_forward``."""

    def forward(self, x):
        return self._conv_forward(F.pad(x, (1, 1, 1, 1), mode='reflect'), self.weight, self.bias)


class Standardised(nn.Conv2d):
    def __init__(self, *args, eps=1e-6, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale, self.eps = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 0.7)), eps

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / torch.sqrt(variance + self.eps) * self.scale
        return F.conv2d(input=x, weight=weight, bias=self.bias, padding=1)


class Twice(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + super().forward(-x).relu()


class Sized(nn.Conv3d):
    """A constructor of its own and nothing else, as torchvision's ``Conv3DSimple``."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3, padding=1, bias=False)


def scaled(conv):
    parametrize.register_parametrization(conv, 'weight', nn.Tanh())
    return conv


def pruned(conv):
    prune.random_unstructured(conv, 'weight', 0.4)
    return conv


KINDS = {
    'plain': lambda: nn.Conv2d(4, 6, 3, padding=1),
    'weight-norm': lambda: weight_norm(nn.Conv2d(4, 6, 3, padding=1)),
    'spectral-norm': lambda: spectral_norm(nn.Conv2d(4, 6, 3, padding=1)),
    'pruned': lambda: pruned(nn.Conv2d(4, 6, 3, padding=1)),
    'parametrised': lambda: scaled(nn.Conv2d(4, 6, 3, padding=1)),
    'new-weight-norm': lambda: parametrizations.weight_norm(nn.Conv2d(4, 6, 3, padding=1)),
    'new-spectral-norm': lambda: parametrizations.spectral_norm(nn.Conv2d(4, 6, 3, padding=1)),
    'orthogonal': lambda: parametrizations.orthogonal(nn.Conv2d(4, 6, 3, padding=1)),
    'own-padding': lambda: Same(4, 6, 3, dilation=1),
    'reflected': lambda: Reflected(4, 6, 3),
    'standardised': lambda: Standardised(4, 6, 3, padding=1),
    'parametrised-subclass': lambda: scaled(Standardised(4, 6, 3, padding=1)),
    'circular': lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode='circular'),
}


def built(kind):
    torch.manual_seed(0)
    return nn.Sequential(KINDS[kind](), nn.ReLU(), nn.Conv2d(6, 2, 1)).double().eval()


def picture(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('kind', KINDS)
class TestKinds:
    def test_keeps_the_function(self, kind):
        net, x = built(kind), picture(2, 4, 7, 7)
        want = net(x)
        gated = convert_to_cgc(net)
        assert gated is net and isinstance(net[0], CGConv2d) and list(gated_layers(net)) == ['0']
        assert_close(net(x), want, tolerance=1e-12)

    def test_keeps_the_gradients(self, kind):
        net, plain, x = built(kind), built(kind), picture(2, 4, 7, 7)
        plain(x).square().sum().backward()
        convert_to_cgc(net)(x).square().sum().backward()
        gradients = {name: p.grad for name, p in net.named_parameters()}
        for name, parameter in plain.named_parameters():
            assert_close(gradients[name], parameter.grad, tolerance=1e-10)
        assert any(g is not None and g.abs().max() > 0 for name, g in gradients.items() if '.gate.decode' in name)

    def test_a_gate_that_moves_changes_the_output_as_the_formula_says(self, kind):
        net, x = convert_to_cgc(built(kind)), picture(1, 4, 7, 7)
        before, layer = net(x), net[0]
        layer.gate.gain *= 3
        got = F.relu((layer(x) - _bias(layer)) / 3 + _bias(layer))
        assert_close(net[2](got), before, tolerance=1e-10)

    def test_a_copy_and_a_saved_state_are_the_same(self, kind):
        net, x = convert_to_cgc(built(kind)), picture(2, 4, 7, 7)
        with torch.no_grad():
            for linear in (net[0].gate.decode_in, net[0].gate.decode_out):
                nn.init.normal_(linear.weight)
        if kind not in ('weight-norm', 'pruned'):  # PyTorch does not copy a weight that a hook has computed
            assert_close(copy.deepcopy(net)(x), net(x), tolerance=1e-12)
        other = convert_to_cgc(built(kind))
        assert (other(x) - net(x)).abs().max() > 1e-6
        other.load_state_dict(net.state_dict())
        assert_close(other(x), net(x), tolerance=1e-12)

    def test_a_plain_state_loads(self, kind):
        net, plain = convert_to_cgc(built(kind)), built(kind)
        missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
        assert not unexpected and all('.gate.' in key for key in missing)


def _bias(layer):
    return layer.bias.view(1, -1, 1, 1)


@pytest.mark.parametrize('kind', ['own-padding', 'standardised'])
def test_a_subclass_is_pickled_whole(kind):
    net, x = convert_to_cgc(built(kind)), picture(1, 4, 7, 7)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    assert_close(torch.load(file, weights_only=False)(x), net(x), tolerance=1e-12)


def test_a_parametrisation_can_be_removed_afterwards():
    net, x = convert_to_cgc(built('parametrised')), picture(1, 4, 7, 7)
    want = net(x)
    parametrize.remove_parametrizations(net[0], 'weight')
    assert type(net[0]) is CGConv2d
    assert_close(net(x), want, tolerance=1e-12)


def test_the_gate_reads_the_input_before_the_layer_pads_it():
    net, x = convert_to_cgc(built('own-padding')), picture(1, 4, 7, 7)
    seen = []
    net[0].gate.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    net(x)
    assert seen == [x.shape]


def test_hooks_run_as_before():
    calls = []
    net = built('plain')
    net[0].register_forward_pre_hook(lambda m, i: calls.append('pre'))
    net[0].register_forward_hook(lambda m, i, k, o: calls.append('after'), with_kwargs=True)
    net[0].register_full_backward_hook(lambda m, i, o: calls.append('backward'))
    net[0]._register_state_dict_hook(lambda *_: calls.append('state'))
    convert_to_cgc(net)(picture(1, 4, 7, 7).requires_grad_()).sum().backward()
    net.state_dict()
    assert calls == ['pre', 'after', 'backward', 'state']


def test_ties_stay_tied():
    one, other = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    other.weight = one.weight
    net = convert_to_cgc(nn.ModuleList([one, other, one]))
    assert net[0].weight is net[1].weight and net[2] is net[0] and net[0].gate is not net[1].gate


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_settings_stay(training):
    conv = nn.Conv2d(4, 4, 3).to(torch.bfloat16, memory_format=torch.channels_last).train(training)
    conv.bias.requires_grad_(False)
    weight = conv.weight
    gated = convert_to_cgc(conv)
    assert gated.weight is weight and gated.weight.is_contiguous(memory_format=torch.channels_last)
    assert not gated.bias.requires_grad and gated.training == gated.gate.training == training
    assert {p.dtype for p in gated.parameters()} == {torch.bfloat16}


def test_meta_weights():
    with torch.device('meta'):
        net = convert_to_cgc(nn.Sequential(nn.Conv2d(4, 4, 3), Standardised(4, 4, 3, padding=1)))
    assert len(gated_layers(net)) == 2 and all(p.is_meta for p in net.parameters())


def test_other_ranks():
    net = convert_to_cgc(nn.ModuleList([nn.Conv1d(4, 4, 3), Sized(4, 4)]))
    assert isinstance(net[0], CGConv1d) and isinstance(net[1], CGConv3d) and isinstance(net[1], Sized)
    assert net[1](torch.randn(1, 4, 5, 5, 5)).shape == (1, 4, 5, 5, 5)


def refused():
    replaced = nn.Conv2d(4, 4, 3)
    replaced.forward = lambda x: x
    return {
        'two-calls': (Twice(4, 4, 3), 'calls 2 convolutions'),
        'transposed': (nn.ConvTranspose2d(4, 4, 3), 'only nn.Conv1d'),
        'lazy': (nn.LazyConv2d(4, 3), 'no shape yet'),
        'replaced': (replaced, 'forward was replaced'),
        'gated': (CGConv2d(4, 4, 3), 'gated already'),
    }


@pytest.mark.parametrize('case', refused())
def test_what_cannot_be_gated_is_named(case):
    conv, reason = refused()[case]
    net = nn.Sequential(nn.Conv2d(4, 4, 3), conv)
    plan = conversion_plan(net)
    assert plan['0'] is None and reason in plan['1']
    kind = type(conv)
    convert_to_cgc(net)
    assert type(net[1]) is kind
    with pytest.raises(ValueError, match=reason):
        convert_to_cgc(nn.Sequential(refused()[case][0]))


def test_the_log_says_what_was_left(caplog):
    caplog.set_level(logging.INFO)
    records = []
    import mmcgc.layers.convert as module

    original, module.print_log = module.print_log, lambda text, **_: records.append(text)
    try:
        convert_to_cgc(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), Twice(4, 4, 3), nn.Conv2d(4, 4, 3)), '0|2')
    finally:
        module.print_log = original
    assert records[0].startswith('1 of 3 convolutions with more than one kernel element are gated; not: 2 (its own')
    assert records[0].endswith('3 (it is not included)')


def test_an_error_leaves_the_network_as_it_was():
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv1d(4, 4, 3))
    state, attributes = net.state_dict(), [set(vars(m)) for m in net]
    with pytest.raises(TypeError, match='1: .*num_segments'):
        convert_to_cgc(net, num_segments=2)
    assert [type(m) for m in net] == [nn.Conv2d, nn.Conv1d] and net.state_dict().keys() == state.keys()
    assert [set(vars(m)) for m in net] == attributes


class Foldable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def switch_to_deploy(self):
        self.conv.weight.data += 1

    def forward(self, x):
        return self.conv(x)


def test_folding_is_refused():
    net = nn.Sequential(Foldable(), Foldable())
    convert_to_cgc(net, '0.conv')
    with pytest.raises(ValueError, match='switch_to_deploy folds kernels into one, but the kernel of 0.conv is gated'):
        net[0].switch_to_deploy()
    net[1].switch_to_deploy()
    with pytest.raises(ValueError, match='0.conv is gated'):
        copy.deepcopy(net)[0].switch_to_deploy()
