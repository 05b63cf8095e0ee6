"""Hooks, optimiser wrappers and the launching of runs."""

from .amp import BFloat16OptimWrapper
from .checkpoint_match import CheckpointMatchHook
from .clips import ClipsHook, check_clips
from .curves import CurvesHook
from .gate_statistics import GateStatisticsHook
from .inverse_sqrt import InverseSqrtLR
from .optim_constructor import GatedTSMOptimWrapperConstructor
from .resume_batches import ResumeBatchesHook

__all__ = [
    'BFloat16OptimWrapper', 'CheckpointMatchHook', 'ClipsHook', 'CurvesHook', 'GateStatisticsHook',
    'GatedTSMOptimWrapperConstructor', 'InverseSqrtLR', 'ResumeBatchesHook', 'check_clips',
]
