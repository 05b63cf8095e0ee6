"""Uninitialised memory is poisoned in every test of the operators, so that a read before a write shows."""

import pytest
import torch
from torch.utils._device import _device_constructors


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch):
    def poison(make):
        def wrapper(*args, **kwargs):
            out = make(*args, **kwargs)
            return out.fill_(float('nan')) if out.is_floating_point() and type(out) is torch.Tensor else out

        return wrapper

    _device_constructors()  # is kept for the process, and would not know the real ones if first called below
    monkeypatch.setattr(torch, 'empty', poison(torch.empty))
    monkeypatch.setattr(torch, 'empty_like', poison(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, 'new_empty', poison(torch.Tensor.new_empty))
