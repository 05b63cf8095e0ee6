"""Hooks, optimiser wrappers and the launching of runs."""

from .amp import BFloat16OptimWrapper
from .checkpoint_match import CheckpointMatchHook
from .curves import CurvesHook
from .gate_statistics import GateStatisticsHook

__all__ = ['BFloat16OptimWrapper', 'CheckpointMatchHook', 'CurvesHook', 'GateStatisticsHook']
