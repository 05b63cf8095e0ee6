"""Where a network runs."""

from __future__ import annotations

import torch
from mmengine.device import get_device


def usable_device(name: str | None = None) -> str:
    """The device of that name, or an accelerator where there is one.

    Args:
        name: ``cpu``, ``cuda:0``, ...

    Raises:
        ValueError: It is no device, or not here.
    """
    name = name or get_device()
    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError) as error:  # torch's ways of saying it
        reason = str(error).splitlines()[0]
        raise ValueError(f'the device {name!r} cannot be used here: {reason}; leave it out, or take cpu') from error
    return name
