_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    '../../_base_/datasets/imagenette_bs64.py',
    '../../_base_/schedules/imagenette_bs64_100e.py',
    '../../_base_/classification_runtime.py',
]
model = dict(head=dict(num_classes=10))
