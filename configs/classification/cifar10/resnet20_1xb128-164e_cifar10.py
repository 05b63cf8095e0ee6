_base_ = [
    '../../_base_/models/cifar_resnet20.py',
    '../../_base_/datasets/cifar10_bs128.py',
    '../../_base_/schedules/cifar10_164e.py',
    '../../_base_/classification_runtime.py',
]
# Small layers: on a GPU their launches take longer than their kernels.
custom_hooks = [
    dict(type='mmcgc.CurvesHook'),
    dict(type='mmcgc.GateStatisticsHook', interval=1000),
    dict(type='mmcgc.CUDAGraphHook'),
]
