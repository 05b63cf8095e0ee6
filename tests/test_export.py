"""Exported networks give what the networks give: torch.export, ONNX in onnxruntime, TorchScript; any batch."""

import copy
import io

import pytest
import torch
from helpers import ROOT, assert_close, onnx_runtime
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn
from translation_kinds import KINDS

from mmcgc import CGConv1d, CGConv2d, CGConv3d
from mmcgc.export import exportable
from mmcgc.models.translation import TranslationModel


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, with running statistics and affine parameters away from where they start."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def configured(path: str, **backbone) -> nn.Module:
    config = Config.fromfile(ROOT / 'configs/quickstart' / path)
    config.model.backbone.update(backbone)
    with MODELS.switch_scope_and_registry(config.default_scope) as registry:
        return settled(registry.build(config.model))


def tokens(batch: int) -> torch.Tensor:
    """(B, 9), the later sentences shorter."""
    made = torch.randint(4, 16, (batch, 9), generator=torch.Generator().manual_seed(batch))
    for i in range(batch):
        made[i, 9 - i % 5 :] = 0
    return made


def floats(*size: int):
    return lambda batch: torch.randn(batch, *size, generator=torch.Generator().manual_seed(batch))


def image():
    return configured('cgc-resnet20_1xb32-10e_digits.py', depth=8), floats(3, 16, 16)


def video():
    one_stage = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    model = configured('tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py', **one_stage)
    model.cls_head.fc_cls = settled(nn.Linear(16, 8))
    return model, floats(8, 3, 24, 24)


def sentence():
    encoder, decoder = (
        dict(mixer=mixer, channels=8, hidden=12, heads=2, dropout=0.1, kernel_sizes=[3, 5])
        for mixer in KINDS['cgc-lightconv']
    )
    return settled(TranslationModel(16, 16, encoder, decoder)), tokens


MODELS_OF = dict(image=image, video=video, sentence=sentence)


@pytest.fixture(scope='module', params=MODELS_OF)
def network(request):
    """A network, what to give it for a batch, and what it gives for five samples by its own path."""
    model, sample = MODELS_OF[request.param]()
    five = sample(5)
    with torch.no_grad():
        if request.param == 'video':
            expected = model(five, stage='head')
        else:
            expected = model(five)
    return model, sample, expected


def dynamic():
    return ({0: torch.export.Dim('batch', min=1, max=64)},)


@torch.no_grad()
def test_the_copy_computes_the_same_and_leaves_the_model_alone(network):
    model, sample, expected = network
    before = copy.deepcopy(model.state_dict())
    assert_close(exportable(model)(sample(5)), expected, tolerance=1e-5)
    assert all(m.backend is None for m in model.modules() if isinstance(m, (CGConv1d, CGConv2d, CGConv3d)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_torch_export_with_any_batch(network):
    model, sample, expected = network
    program = torch.export.export(exportable(model), (sample(2),), dynamic_shapes=dynamic())
    assert not [node for node in program.graph.nodes if 'mmcgc' in str(node.target)]
    for batch in (1, 3):
        assert program.module()(sample(batch)).shape[0] == batch
    assert_close(program.module()(sample(5)), expected, tolerance=1e-4)


def test_torch_export_with_pictures_of_any_size():
    model, _ = image()
    height, width = (torch.export.Dim(name, min=8, max=64) for name in ('height', 'width'))
    for network in (exportable(model), model):  # by slices, and by our operator
        program = torch.export.export(network, (floats(3, 20, 16)(2),), dynamic_shapes=({2: height, 3: width},))
        for size in ((16, 16), (33, 25)):
            pictures = floats(3, *size)(2)
            assert_close(program.module()(pictures), model(pictures), tolerance=1e-4)


def test_a_network_that_happens_to_have_a_head_of_that_name():
    """Only mmaction2's recognisers are called as such."""
    network = nn.Sequential(CGConv2d(3, 4, 3))
    network.cls_head = nn.Flatten()
    sample = floats(3, 9, 7)(2)
    settled(network)
    assert_close(exportable(network)(sample), network(sample))


@pytest.mark.parametrize(
    'network',
    [pytest.param(name, marks=[pytest.mark.slow] if name == 'video' else []) for name in MODELS_OF],
    indirect=True,
)
def test_onnx_with_any_batch(network, tmp_path):
    onnxruntime = onnx_runtime()
    model, sample, expected = network
    path = tmp_path / 'model.onnx'
    torch.onnx.export(
        exportable(model), (sample(2),), path, dynamo=True, dynamic_shapes=dynamic(), verbose=False, optimize=False
    )
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    for batch in (1, 3):
        assert session.run(None, {name: sample(batch).numpy()})[0].shape[0] == batch
    assert_close(torch.from_numpy(session.run(None, {name: sample(5).numpy()})[0]), expected, tolerance=1e-4)


def test_a_trace_with_any_batch(network):
    model, sample, expected = network
    traced = torch.jit.trace(exportable(model), sample(2), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    assert loaded(sample(1)).shape[0] == 1
    assert_close(loaded(sample(5)), expected, tolerance=1e-4)


def test_onnx_chooses_the_portable_form_by_itself(tmp_path):
    onnxruntime = onnx_runtime()
    layer = settled(CGConv2d(6, 4, 3, stride=2, padding=1, groups=2))
    sample = floats(6, 9, 7)
    torch.onnx.export(
        layer, (sample(2),), tmp_path / 'layer.onnx', dynamo=True, dynamic_shapes=dynamic(), verbose=False
    )
    session = onnxruntime.InferenceSession(tmp_path / 'layer.onnx', providers=['CPUExecutionProvider'])
    (out,) = session.run(None, {session.get_inputs()[0].name: sample(4).numpy()})
    assert_close(torch.from_numpy(out), layer(sample(4)).detach(), tolerance=1e-4)
