"""The hooks, optimiser wrappers and schedules that configs name."""

from .amp import BFloat16OptimWrapper
from .checkpoint_match import CheckpointMatchHook
from .clips import ClipsHook, check_clips
from .cost import CostHook
from .cuda_graph import CUDAGraphHook
from .curves import CurvesHook
from .gate_statistics import GateStatisticsHook
from .inverse_sqrt import InverseSqrtLR
from .loss_guard import LossGuardHook
from .optim_constructor import GatedTSMOptimWrapperConstructor
from .position_seed import PositionSeedHook
from .resume_batches import ResumeBatchesHook
from .safe_checkpoint import SafeCheckpointHook

__all__ = [
    'BFloat16OptimWrapper',
    'CUDAGraphHook',
    'CheckpointMatchHook',
    'ClipsHook',
    'CostHook',
    'CurvesHook',
    'GateStatisticsHook',
    'GatedTSMOptimWrapperConstructor',
    'InverseSqrtLR',
    'LossGuardHook',
    'PositionSeedHook',
    'ResumeBatchesHook',
    'SafeCheckpointHook',
    'check_clips',
]
