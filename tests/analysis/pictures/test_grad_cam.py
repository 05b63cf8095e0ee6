"""Grad-CAM++ at the taps against the package's own pipeline, and what the taps must not be fooled by."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmcgc import CGConv2d
from mmcgc.analysis.pictures.grad_cam import look, pick_convolution
from mmcgc.analysis.trained import Trained

cam = pytest.importorskip('pytorch_grad_cam')


class Network(nn.Module):
    """A stem, a (gated) convolution with norm and ReLU, and a head; ``shortcut`` adds in place after the norm."""

    def __init__(self, gated=True, shortcut=False, frames=None):
        super().__init__()
        options = dict(num_segments=frames) if gated and frames else {}
        self.stem, self.entry = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.conv = (CGConv2d if gated else nn.Conv2d)(8, 8, 3, padding=1, bias=False, **options)
        self.norm, self.relu, self.head = nn.BatchNorm2d(8), nn.ReLU(), nn.Linear(8, 5)
        self.shortcut, self.frames = shortcut, frames

    def forward(self, inputs, data_samples=None):
        x = self.entry(self.stem(inputs.flatten(0, 1) if self.frames else inputs))
        y = self.norm(self.conv(x))
        if self.shortcut:
            y += x
        y = self.head(self.relu(y).mean((2, 3)))
        return y.unflatten(0, (-1, self.frames)).mean(1) if self.frames else y


def setting(frames=None, **options):
    torch.manual_seed(1)
    model = Network(frames=frames, **options)
    model(torch.randn(4, *(frames,) * bool(frames), 3, 16, 16))  # statistics of the norm
    trained = Trained('network', {}, model.eval())
    pixels = torch.randn(1, *(frames,) * bool(frames), 3, 16, 16)
    return trained, SimpleNamespace(inputs=dict(inputs=pixels, data_samples=[None])), pixels


@pytest.mark.parametrize('gated', [False, True], ids=['plain', 'gated'])
@pytest.mark.parametrize('place, module', [('before', 'entry'), ('after', 'relu')])
def test_maps_are_those_of_the_package(place, module, gated):
    trained, sample, pixels = setting(gated=gated)
    seen = look(trained, sample, trained.model.conv, target=3)
    expected = cam.GradCAMPlusPlus(trained.model, [getattr(trained.model, module)])(
        pixels, [cam.utils.model_targets.ClassifierOutputTarget(3)]
    )  # (1, 16, 16), from 0 to 1
    ours = seen.maps[place] - seen.maps[place].min()
    np.testing.assert_allclose(ours / ours.max(), expected, atol=1e-4)
    assert expected.std() > 0.05 and seen.target == 3
    logits = trained.model(pixels)[0]
    assert seen.label == logits.argmax() and seen.score == pytest.approx(logits.softmax(0).max().item(), rel=1e-5)


def test_an_addition_in_place_leaves_the_map_alone():
    """The map after the convolution ends at its norm, whatever is then added to that in place."""
    trained, sample, pixels = setting(shortcut=True)
    found = look(trained, sample, trained.model.conv, target=0).maps['after']
    values = trained.model.norm(trained.model.conv(trained.model.entry(trained.model.stem(pixels)))).detach()
    values.requires_grad_()
    shortcut = trained.model.entry(trained.model.stem(pixels)).detach()
    trained.model.head(torch.relu(values + shortcut).mean((2, 3)))[0, 0].backward()
    tool = cam.GradCAMPlusPlus(trained.model, [])
    image = tool.get_cam_image(None, None, None, values.detach().clamp(min=0).numpy(), values.grad.numpy()).clip(0)
    np.testing.assert_allclose(found, image / image.max(), atol=1e-4)


def test_the_context_is_seen_by_way_of_the_gate_alone():
    trained, sample, _ = setting()
    gate = trained.model.conv.gate
    assert look(trained, sample, trained.model.conv).maps['context'].shape == (1, 3, 3)
    nn.init.zeros_(gate.decode_in.weight)
    nn.init.zeros_(gate.decode_out.weight)
    maps = look(trained, sample, trained.model.conv).maps
    assert not maps['context'].any() and maps['before'].any()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.model.modules())


def test_a_plain_layer_has_no_context_and_a_clip_a_map_for_each_frame():
    trained, sample, _ = setting(gated=False)
    assert list(look(trained, sample, trained.model.conv).maps) == ['before', 'after']
    trained, sample, _ = setting(frames=4)
    shapes = {place: maps.shape for place, maps in look(trained, sample, trained.model.conv).maps.items()}
    assert shapes == dict(before=(4, 16, 16), context=(3, 3, 3), after=(4, 16, 16))


def test_choice_of_the_convolution():
    model = nn.Sequential(CGConv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1))
    assert pick_convolution(model)[0] == '0'
    assert pick_convolution(model[1:])[0] == '1'
    assert pick_convolution(model, '1')[1] is model[1]
    with pytest.raises(ValueError, match="no convolution '2' larger than 1x1; there are 0, 1"):
        pick_convolution(model, '2')


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    trained, sample, _ = setting()
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(ImportError, match='pip install'):
        look(trained, sample, trained.model.conv)
