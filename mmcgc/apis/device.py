"""Choose the device that a network runs on."""

from __future__ import annotations

import torch
from mmengine.device import get_device


def usable_device(name: str | None = None) -> str:
    """Return the name of a device that can be used here, by default that of an accelerator if there is one.

    Args:
        name: A device as PyTorch names it: ``cpu``, ``cuda:0``, ...

    Raises:
        ValueError: If there is no device of that name here.
    """
    name = name or get_device()
    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError) as error:  # torch raises one or the other.
        reason = str(error).splitlines()[0]
        raise ValueError(f'the device {name!r} cannot be used here: {reason}; leave it out, or take cpu') from error
    return name
