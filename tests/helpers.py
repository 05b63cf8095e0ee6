"""What several tests share: a comparison that says by how much it failed, and the environment of a tool's process."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

# in, out, kernel, input, stride, padding of the gated convolutions of ResNet-50 at 224 px
RESNET50 = [
    (3, 64, 7, 224, 2, 3), (64, 64, 3, 56, 1, 1), (128, 128, 3, 56, 2, 1), (128, 128, 3, 28, 1, 1),
    (256, 256, 3, 28, 2, 1), (256, 256, 3, 14, 1, 1), (512, 512, 3, 14, 2, 1), (512, 512, 3, 7, 1, 1),
]  # fmt: skip

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


def assert_close(actual, expected, name='', tolerance=None):
    """Assert that the largest error over the largest expected magnitude is below the tolerance of the dtype."""
    tolerance = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    assert actual.shape == expected.shape, f'{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}'
    if expected.numel() == 0:
        return
    expected = expected.double()
    error = (actual.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    assert error <= tolerance, f'{name}: relative error {error:.2e} above {tolerance:.0e}'


def tool_environment(tiny, **environment) -> dict[str, str]:
    """The environment of a tool's process: this repository and the tiny hooks importable, the CPU alone."""
    path = os.pathsep.join([str(ROOT), str(tiny.root), os.environ.get('PYTHONPATH', '')])
    here = Path(sys.executable).parent
    ours = dict(
        PYTHONPATH=path, PATH=f'{here}{os.pathsep}{os.environ["PATH"]}', CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1'
    )
    return {**os.environ, **ours, **environment}


def onnx_runtime():
    """Return the package onnxruntime; skip the test if it is missing or this torch cannot export (docs/export.md)."""
    if torch.__version__.startswith('2.6.'):
        pytest.skip('the ONNX exporter of torch 2.6 fails on any batch norm')
    return pytest.importorskip('onnxruntime')


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])
