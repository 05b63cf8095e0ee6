"""Measure how much memory a call needs beyond what is in use, and the time, on an accelerator or the CPU."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ...engine.cost import peak_resident_bytes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the constants M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


def now(device: torch.device) -> float:
    """Return the time in seconds, once the device has done its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Return the most bytes in use during ``run()`` beyond those before it.

    On CUDA these are bytes of tensors; on the CPU those of the whole process (its resident set), after free memory went
    back to the system.  Only Linux can reset the highest resident set; elsewhere a peak below an earlier one reads 0.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if sys.platform != 'linux':
        before = peak_resident_bytes()
        run()
        return peak_resident_bytes() - before
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:  # glibc
        trim(0)
    Path('/proc/self/clear_refs').write_text('5')
    before = _status('VmRSS')
    run()
    return _status('VmHWM') - before


def keep_memory() -> None:
    """Keep freed memory with the process for good, so that it is not returned to the system and fetched anew.

    By default glibc returns large blocks; how many depends on what else lies in its heap, and the first write to memory
    fresh from the system can take longer than computing what is written.

    Raises:
        ValueError: If the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None or not all(mallopt(option, 2**31 - 1) for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD)):
        raise ValueError('memory can be kept with glibc (Linux) alone; leave it to the allocator here')


def _status(name: str) -> int:
    """Return a size of this process in bytes."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{name}:')) * 1024
