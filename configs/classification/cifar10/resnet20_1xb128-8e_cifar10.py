_base_ = [
    '../../_base_/models/cifar_resnet20.py',
    '../../_base_/datasets/cifar10_bs128.py',
    '../../_base_/schedules/cifar10_8e.py',
    '../../_base_/classification_runtime.py',
]
randomness = dict(seed=0)
