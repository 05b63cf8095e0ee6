"""Distances between and within classes against the direct computation on all kernels at once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcgc import CGConv2d, CGConv3d
from mmcgc.analysis.pictures import class_kernels as module
from mmcgc.analysis.pictures.class_kernels import class_kernels, joined_terms, measure_class_kernels
from mmcgc.analysis.pictures.class_kernels_picture import draw_centres, draw_distances
from mmcgc.analysis.pictures.gated_layers import layer_gates

LABELS = [2, 0, 2, 5, 0, 5, 5, 2, 5, 5, 0]
LAYERS = {
    'plain': lambda: CGConv2d(4, 6, 3),
    'groups': lambda: CGConv2d(4, 6, 3, groups=2),
    'depthwise': lambda: CGConv2d(4, 4, 3, groups=4),
    'one-branch-in': lambda: CGConv2d(4, 6, 3, gate=dict(branches='in')),
    'one-branch-out': lambda: CGConv2d(4, 6, 3, gate=dict(branches='out')),
    'product': lambda: CGConv2d(4, 6, 3, gate=dict(combine='product')),
    'plain-start': lambda: CGConv2d(4, 6, 3, gate=dict(init='preserve')),
    'time': lambda: CGConv3d(4, 6, (3, 1, 1)),
}


def random_terms(layer, images, rows):
    """(N, R, C + O, n) and the gates that they stand for, (N, R, O, C / groups, *K)."""
    kernel, branches = layer.gate.kernel_size, layer.gate.branches
    given = [torch.randn(images * rows, channels, *kernel) if branches in ('both', branch) else None
             for branch, channels in (('in', layer.in_channels), ('out', layer.out_channels))]  # fmt: skip
    gates = layer_gates(layer, *given).unflatten(0, (images, rows))
    return joined_terms(layer, *given).unflatten(0, (images, rows)).numpy(), gates


def directly(kernels, labels):
    """Centres, distances between them and mean distances to them, as appendix A.4 puts it: (N, ...) kernels."""
    kernels, labels = kernels.flatten(1).double(), torch.tensor(labels)
    groups = [kernels[labels == label] for label in labels.unique()]
    centres = torch.stack([group.mean(0) for group in groups])
    inter = torch.stack([torch.stack([(a - b).norm() for b in centres]) for a in centres])
    intra = torch.stack([(group - centre).norm(dim=1).mean() for group, centre in zip(groups, centres, strict=True)])
    return centres.numpy(), inter.numpy(), intra.numpy()


@pytest.mark.parametrize('budget', [1, 2**28], ids=['channel-by-channel', 'one-block'])
@pytest.mark.parametrize('rows', [1, 3], ids=['picture', 'clip'])
@pytest.mark.parametrize('layer', LAYERS)
def test_streaming_equals_the_direct_computation(layer, rows, budget, monkeypatch):
    monkeypatch.setattr(module, 'IMAGES_AT_ONCE', 2)
    layer = LAYERS[layer]()
    terms, gates = random_terms(layer, len(LABELS), rows)
    found = class_kernels(terms, LABELS, layer, budget=budget)
    weight = layer.weight.detach().reshape(*layer.weight.shape[:2], *gates.shape[4:])
    centres, inter, intra = directly(gates * weight, LABELS)
    np.testing.assert_allclose(found.centres.reshape(centres.shape), centres, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.inter, inter, rtol=1e-4)
    np.testing.assert_allclose(found.intra, intra, rtol=1e-4)
    assert found.classes == ['0', '2', '5'] and list(found.counts) == [3, 3, 5]
    pairs = [inter[i, j] > intra[i] for i in range(3) for j in range(3) if i != j]
    assert found.share == pytest.approx(np.mean(pairs))
    ratios = [inter[i, j] / intra[i] for i in range(3) for j in range(3) if i != j]
    assert found.ratio == pytest.approx(np.mean(ratios), rel=1e-4)


def test_memory_holds_a_block_of_the_kernels_of_few_images(monkeypatch):
    """The kernels of 300 images are 300 x 256 numbers an element; never more than 64 images of one block are there."""
    layer, sizes, original = CGConv2d(16, 16, 3), [], module._kernels
    monkeypatch.setattr(module, '_kernels', lambda *args: [out := original(*args), sizes.append(tuple(out.shape))][0])
    terms, _ = random_terms(layer, 300, 1)
    class_kernels(terms, np.arange(300) % 2, layer, budget=2 * 8 * 16 * 9 * 4)  # four output channels of two classes
    assert max(sizes) == (64, 1, 4, 16, 3, 3)


def test_classes_that_differ_are_found_and_shuffled_labels_are_not():
    layer = CGConv2d(4, 4, 3)
    labels = np.arange(200) % 4
    terms = torch.randn(200, 1, 8, 9)
    terms[:, 0, :4] += 3 * torch.randn(4, 4, 9)[torch.tensor(labels)]
    assert class_kernels(terms.numpy(), labels, layer).share == 1
    assert class_kernels(terms.numpy(), np.random.default_rng(0).permutation(labels), layer).share == 0


@pytest.mark.parametrize('labels, message', [
    ([1] * 11, 'at least two of them, got class 1'),
    ([0, 0, 3] + [1] * 8, 'only one image of class 3'),
], ids=['one-class', 'one-image'])  # fmt: skip
def test_too_few_images_are_refused(labels, message):
    layer = CGConv2d(4, 6, 3)
    with pytest.raises(ValueError, match=message):
        class_kernels(random_terms(layer, 11, 1)[0], labels, layer, 'class {}'.format)


class Network(torch.nn.Module):
    """Two gated layers on plain tensors, with a preprocessor that only unpacks."""

    def __init__(self):
        super().__init__()
        self.first, self.last = CGConv2d(3, 4, 3), CGConv2d(4, 5, 3)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, data_samples):
        return self.last(self.first(inputs))


def test_a_data_set_in_batches_equals_all_its_kernels_at_once():
    torch.manual_seed(0)
    model, images = Network().eval(), torch.randn(11, 3, 8, 8)
    samples = [SimpleNamespace(gt_label=torch.tensor([label])) for label in LABELS]
    loader = [dict(inputs=images[i : i + 4], data_samples=samples[i : i + 4]) for i in range(0, 11, 4)]
    trained = SimpleNamespace(model=model, class_name='class {}'.format)
    found = measure_class_kernels(trained, loader, 'last', model.last)
    with torch.no_grad():
        gates = layer_gates(model.last, *model.last.gate(model.first(images)))
    _, inter, intra = directly(gates * model.last.weight.detach(), LABELS)
    np.testing.assert_allclose(found.inter, inter, rtol=1e-4)
    np.testing.assert_allclose(found.intra, intra, rtol=1e-4)
    assert not model.last.gate._forward_hooks and found.classes == ['class 0', 'class 2', 'class 5']


@pytest.mark.parametrize('classes', [2, 50])
def test_pictures_for_few_and_many_classes(classes, tmp_path):
    layer = CGConv2d(4, 6, 3)
    found = class_kernels(random_terms(layer, 2 * classes, 1)[0], np.arange(2 * classes) % classes, layer)
    assert draw_distances({'trained': found, 'control': found}, 'last', tmp_path / 'a.png').stat().st_size > 10_000
    assert draw_centres(found, 'last', tmp_path / 'b.png').stat().st_size > 5_000
