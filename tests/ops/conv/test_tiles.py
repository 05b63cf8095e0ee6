"""How the tiled backend cuts a convolution into tiles, and the scratch that it keeps."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_context_gated_conv import SHAPES_2D, SHAPES_3D, compare, run, tensors

from mmcgc.ops.conv import tiles


@pytest.mark.parametrize('shape', [SHAPES_2D[3], SHAPES_2D[8], SHAPES_3D[0]], ids=str)
def test_large_samples_in_channels_last_go_alone_as_they_lie(monkeypatch, shape):
    monkeypatch.setattr(tiles, '_LARGE', 1)
    compare(shape, torch.float64, 'sum', True)


@pytest.mark.parametrize('shape', [(3, 40, 24, (3, 3), (2, 3), 1, 1, 1, 1), (2, 40, 32, (3, 2), (6, 5), 2, 1, 1, 1)])
def test_gradients_of_small_maps_in_half_precision(monkeypatch, shape):
    monkeypatch.setattr(tiles, '_KERNEL_BYTES', 1 << 12)  # so that every sample has a tile of its own
    monkeypatch.setattr(tiles, 'lay_out', tiles.lay_out.__wrapped__)
    leaves = [t.detach().bfloat16().float().requires_grad_() for t in tensors(shape, torch.float32)]
    half = [leaves[0].bfloat16(), leaves[1].bfloat16(), *leaves[2:4], leaves[4].bfloat16()]
    expected, y = run(shape, leaves, 'reference'), run(shape, half, 'tiled')
    cotangent = torch.randn_like(y)
    wanted = torch.autograd.grad(expected, leaves, cotangent.float())
    for ours, true in zip(torch.autograd.grad(y, leaves, cotangent), wanted, strict=True):
        assert (ours - true).norm() < 0.01 * true.norm()


@pytest.mark.parametrize('size', [1 << 9, 1 << 12, 1 << 14], ids=lambda size: f'{size} bytes')
@pytest.mark.parametrize('shape', [SHAPES_2D[1], SHAPES_2D[3]], ids=str)
def test_any_tile_gives_the_same(monkeypatch, shape, size, many):
    """Parts of one sample's kernel, one sample, several."""
    monkeypatch.setattr(tiles, '_KERNEL_BYTES', size)
    monkeypatch.setattr(tiles, '_ACTIVATION_BYTES', size)
    monkeypatch.setattr(tiles, 'lay_out', tiles.lay_out.__wrapped__)
    for dtype in (torch.float32, torch.float64):
        compare(shape, dtype, 'sum', False)
        compare(shape, dtype, 'product', True)


def test_calls_of_several_threads_share_no_scratch():
    shapes = [SHAPES_2D[3], SHAPES_2D[13], SHAPES_2D[11], SHAPES_2D[4]]
    alone = [run(shape, tensors(shape, torch.float32), 'tiled') for shape in shapes]

    def again(i: int) -> bool:
        leaves = tensors(shapes[i % 4], torch.float32)
        y = run(shapes[i % 4], leaves, 'tiled')
        y.sum().backward()
        return torch.equal(y, alone[i % 4])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, range(64)))


def test_training_goes_on_after_inference():
    """What is kept of an inference is no inference tensor, which a training could not write to."""

    def inference() -> None:
        with torch.inference_mode():
            run(SHAPES_2D[11], tensors(SHAPES_2D[11], torch.float32), 'tiled')

    def training() -> None:
        compare(SHAPES_2D[11], torch.float32, 'sum', False)

    with ThreadPoolExecutor(1) as thread:  # which has kept nothing yet
        thread.submit(inference).result()
        thread.submit(training).result()
