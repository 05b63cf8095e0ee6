"""Choose the device that a network runs on, and name it."""

from __future__ import annotations

import platform
from pathlib import Path

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


def device_name(device: str) -> str:
    """Return the name of the accelerator, or of the processor, that stands behind a device."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    about = Path('/proc/cpuinfo')
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or 'CPU'
