"""Gated layers under the transformations of torch.func, derivatives of any order, tracers and modes of tensors."""

import copy
import io

import pytest
import torch
from helpers import assert_close, onnx_runtime
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmcgc import CGConv1d, CGConv2d, CGConv3d

LAYERS = {
    '1d': (lambda: CGConv1d(2, 2, 3), (2, 2, 4)),
    '2d': (lambda: CGConv2d(2, 4, 3, padding=1, groups=2), (2, 2, 4, 4)),
    'segments': (lambda: CGConv2d(2, 2, 3, num_segments=2, gate=dict(pool='max')), (2, 2, 4, 4)),
    'frames': (lambda: CGConv3d(2, 2, (1, 3, 3), num_frames=2, gate=dict(combine='sigmoid_product')), (1, 2, 2, 4, 4)),
    '3d': (lambda: CGConv3d(2, 2, (3, 1, 1), gate=dict(shared_norm=True)), (2, 2, 4, 3, 2)),
}


@pytest.fixture(params=LAYERS)
def case(request):
    """A layer in eval mode and an input, in float64."""
    torch.manual_seed(0)
    make, shape = LAYERS[request.param]
    layer = make().double().eval()
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.2 * torch.randn_like(p)
    return layer, torch.randn(shape, dtype=torch.float64)


def slope(function, x, v, step=1e-6):
    return (function(x + step * v) - function(x - step * v)) / (2 * step)


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_derivatives_of_first_and_second_order(case, training):
    layer, x = case
    layer.train(training)
    assert torch.autograd.gradcheck(layer, x.requires_grad_(), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(layer, x, check_batched_grad=True, fast_mode=True)


def test_transformations_of_functions(case):
    layer, x = case
    v = torch.randn_like(x)
    assert_close(torch.func.jvp(layer, (x,), (v,))[1], slope(layer, x, v), 'jvp', 1e-7)
    assert_close(torch.func.linearize(layer, x)[1](v), slope(layer, x, v), 'linearize', 1e-7)
    assert_close(torch.func.jacfwd(layer)(x), torch.func.jacrev(layer)(x), 'jacobians')

    def loss(x):
        return layer(x).square().sum()

    gradient = torch.func.grad(loss)
    leaf = x.clone().requires_grad_()
    assert_close(gradient(x), torch.autograd.grad(loss(leaf), leaf)[0], 'gradient')
    assert_close(torch.tensordot(torch.func.hessian(loss)(x), v, v.dim()), slope(gradient, x, v), 'hessian', 1e-7)
    pair = torch.stack([x, x.flip(0)])
    assert_close(torch.func.vmap(layer)(pair), torch.stack([layer(t) for t in pair]), 'vmap')
    assert_close(torch.func.vmap(gradient)(pair), torch.stack([gradient(t) for t in pair]), 'vmap of the gradient')


def test_gradients_of_each_sample_by_functional_call():
    layer, x = CGConv2d(2, 4, 3, padding=1).double().eval(), torch.randn(3, 2, 5, 4, dtype=torch.float64)
    state = {name: t.detach() for name, t in layer.state_dict(keep_vars=True).items() if t.requires_grad}

    def loss(state, sample):
        return torch.func.functional_call(layer, state, (sample[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(state, x)
    for i, sample in enumerate(x):
        layer.zero_grad()
        layer(sample[None]).square().sum().backward()
        for name, p in layer.named_parameters():
            assert_close(each[name][i], p.grad, name)


@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointing(reentrant):
    layer, x = CGConv2d(2, 4, 3, padding=1).double(), torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    x.grad = None
    checkpoint(layer, x, use_reentrant=reentrant).square().sum().backward()
    for t, grad in zip([x, *layer.parameters()], expected, strict=True):
        assert_close(t.grad, grad)


def test_a_gradient_penalty_trains_all_parameters():
    layer, x = CGConv2d(2, 4, 3, padding=1).double(), torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True)

    def penalty():
        return torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0].square().sum()

    penalty().backward()
    weight = layer.gate.decode_out.weight
    v = torch.randn_like(weight)
    with torch.no_grad():
        kept, values = weight.clone(), []
        for sign in (1e-6, -1e-6):
            weight.copy_(kept + sign * v)
            with torch.enable_grad():
                values.append(penalty().item())
    assert ((weight.grad * v).sum().item() - (values[0] - values[1]) / 2e-6) == pytest.approx(0, abs=1e-5)
    assert all(p.grad.abs().sum() > 0 for name, p in layer.named_parameters() if name != 'bias')


def test_fake_tensors_leave_nothing_behind():
    layer = CGConv2d(2, 4, 3, padding=1).eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.empty(2, 2, 11, 7)).shape == (2, 4, 11, 7)
    assert layer(torch.randn(2, 2, 11, 7)).isfinite().all()


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_shapes_on_the_meta_device(training):
    layer = CGConv2d(2, 4, 3, stride=2, padding=1, device='meta').train(training)
    x = torch.empty(2, 2, 9, 8, device='meta', requires_grad=True)
    layer(x).sum().backward()
    assert layer(x).shape == (2, 4, 5, 4) and x.grad.shape == x.shape


@pytest.mark.parametrize('make', [nn.Conv2d, CGConv2d])
def test_one_graph_for_all_sizes(make):
    network = nn.Sequential(make(3, 4, 3, padding=1), nn.ReLU(), make(4, 4, 5, stride=2, padding=2)).eval()
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(network, backend=counter, dynamic=True)
    with torch.no_grad():
        for height, width in zip(range(9, 400, 43), range(150, 5, -16), strict=True):
            x = torch.randn(2, 3, height, width)
            assert_close(compiled(x), network(x))
    assert counter.frame_count == 1


@pytest.mark.parametrize('format', [torch.contiguous_format, torch.channels_last])
def test_a_network_traced_by_fx(format):
    network = nn.Sequential(CGConv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), CGConv2d(4, 4, 1)).eval()
    graph = torch.fx.symbolic_trace(network)
    assert [node.target for node in graph.graph.nodes if node.op == 'call_module'] == ['0', '1', '2', '3']
    for size in (9, 12):
        x = torch.randn(2, 3, size, 8).contiguous(memory_format=format)
        assert torch.equal(graph(x), network(x))
    x.requires_grad_()
    for a, b in zip(*(torch.autograd.grad(f(x).square().sum(), [x, *network.parameters()]) for f in (graph, network)),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


def test_fx_refuses_a_layer_by_itself():
    with pytest.raises(TypeError, match='put it into an nn.Sequential'):
        torch.fx.symbolic_trace(CGConv2d(3, 4, 3))


def test_features_by_torchvision():
    torchvision = pytest.importorskip('torchvision')
    from torchvision.models.feature_extraction import create_feature_extractor

    from mmcgc import convert_to_cgc

    network = convert_to_cgc(torchvision.models.resnet18(weights=None)).eval()
    x, seen = torch.randn(2, 3, 64, 64), []
    handle = network.layer3.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    network(x)
    handle.remove()
    features = create_feature_extractor(copy.deepcopy(network), {'layer3': 'a', 'layer2.0.conv1': 'b'})(x)
    assert torch.equal(features['a'], seen[0]) and features['b'].shape == (2, 128, 8, 8)


def test_mmengines_option_of_efficient_norms():
    """In eval mode its convolutions take the norms' factors; a gated one keeps its gate."""
    from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval

    backbone = nn.Sequential(CGConv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).double().eval()
    nn.init.uniform_(backbone[1].weight, 0.5, 2)
    backbone[1].running_mean.normal_()
    model, x = nn.ModuleDict(dict(backbone=backbone)), torch.randn(2, 3, 9, 8, dtype=torch.float64)
    expected = backbone(x)
    turn_on_efficient_conv_bn_eval(model, ['backbone'])
    calls = []
    backbone[1].register_forward_hook(lambda *_: calls.append(1))
    assert_close(backbone(x), expected)
    assert not calls  # it was taken up


def test_the_older_onnx_exporter_takes_any_batch():
    onnxruntime = onnx_runtime()
    network, buffer = nn.Sequential(CGConv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()).eval(), io.BytesIO()
    torch.onnx.export(network, (torch.randn(2, 3, 9, 8),), buffer, dynamo=False, input_names=['x'],
                      dynamic_axes=dict(x={0: 'batch'}))  # fmt: skip
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=['CPUExecutionProvider'])
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 9, 8)
        assert_close(torch.from_numpy(session.run(None, dict(x=x.numpy()))[0]), network(x).detach(), tolerance=1e-4)
