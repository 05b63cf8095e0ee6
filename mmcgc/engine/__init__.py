"""Hooks, optimiser wrappers and the launching of runs."""

from .amp import BFloat16OptimWrapper
from .checkpoint_match import CheckpointMatchHook
from .clips import ClipsHook, check_clips
from .curves import CurvesHook
from .gate_statistics import GateStatisticsHook
from .optim_constructor import GatedTSMOptimWrapperConstructor

__all__ = [
    'BFloat16OptimWrapper', 'CheckpointMatchHook', 'ClipsHook', 'CurvesHook', 'GateStatisticsHook',
    'GatedTSMOptimWrapperConstructor', 'check_clips',
]
