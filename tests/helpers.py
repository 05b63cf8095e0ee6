"""What several tests share: tolerances and a comparison that says by how much it failed."""

import torch

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


def assert_close(actual, expected, name='', tolerance=None):
    """Largest error relative to the largest expected magnitude, below the tolerance of the actual's dtype."""
    tolerance = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    assert actual.shape == expected.shape, f'{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}'
    if expected.numel() == 0:
        return
    expected = expected.double()
    error = (actual.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    assert error <= tolerance, f'{name}: relative error {error:.2e} above {tolerance:.0e}'
