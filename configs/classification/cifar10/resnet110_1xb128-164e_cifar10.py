_base_ = 'resnet20_1xb128-164e_cifar10.py'
model = dict(backbone=dict(depth=110))
# 109 small layers: on a GPU their launches take longer than their kernels.
custom_hooks = [
    dict(type='mmcgc.CurvesHook'), dict(type='mmcgc.GateStatisticsHook', interval=1000),
    dict(type='mmcgc.CUDAGraphHook')]
