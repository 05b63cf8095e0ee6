_base_ = [
    '../_base_/models/cifar_resnet20.py',
    '../_base_/datasets/digits_bs32.py',
    '../_base_/schedules/digits_10e.py',
    '../_base_/classification_runtime.py',
]
default_hooks = dict(logger=dict(interval=10))
custom_hooks = [dict(type='mmcgc.CurvesHook', interval=10), dict(type='mmcgc.GateStatisticsHook')]
randomness = dict(seed=0)
