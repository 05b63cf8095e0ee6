"""Train in mixed precision with or without an accelerator."""

import logging
from contextlib import contextmanager

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS

_SCALING_DEVICES = ('cuda', 'npu', 'mlu', 'musa')  # the devices that MMEngine's AmpOptimWrapper accepts


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Train under ``torch.autocast`` to bfloat16, whose range needs no loss scaling.

    Use it on devices that MMEngine's AmpOptimWrapper refuses, above all the CPU.  It takes OptimWrapper's arguments.
    On a processor that has no instructions for bfloat16 it trains in float32, and warns.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.autocasts = computes_bfloat16(get_device())
        if not self.autocasts:
            print_log(
                'this processor has no instructions for bfloat16, and would take many times as long with it as with '
                'float32: training in float32',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module):
        autocast = torch.autocast(get_device(), dtype=torch.bfloat16, enabled=self.autocasts)
        with super().optim_context(model), autocast:
            yield


def computes_bfloat16(device: str) -> bool:
    """Tell whether to compute in bfloat16 on a device: a CPU must have instructions for it, other devices are taken to.

    A CPU without such instructions emulates them: a convolution may then take forty times as long as in float32.
    """
    return device != 'cpu' or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def enable_amp(optim_wrapper: ConfigDict) -> None:
    """Change the config of a plain optimiser wrapper to mixed precision, in place.

    Raises:
        ValueError: If the wrapper is of a kind that cannot be replaced.
    """
    kind = optim_wrapper.get('type', 'OptimWrapper')
    name = kind.rpartition('.')[-1] if isinstance(kind, str) else kind.__name__
    if name not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise ValueError(
            f"--amp replaces an optim_wrapper of type 'OptimWrapper', but the config has {name!r}: "
            'drop --amp, or set up mixed precision in that wrapper'
        )
    if get_device() in _SCALING_DEVICES:
        optim_wrapper.type = 'AmpOptimWrapper'
        optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        optim_wrapper.type = 'mmcgc.BFloat16OptimWrapper'
        for argument in ('loss_scale', 'dtype', 'use_fsdp'):
            optim_wrapper.pop(argument, None)
