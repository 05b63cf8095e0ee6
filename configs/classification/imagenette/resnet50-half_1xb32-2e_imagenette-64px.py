# A CPU trains this in minutes: it has half the channels, 64 pixels and two epochs.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    '../../_base_/datasets/imagenette_64px_bs32.py',
    '../../_base_/schedules/imagenette_bs32_2e.py',
    '../../_base_/classification_runtime.py',
]
model = dict(backbone=dict(stem_channels=32, base_channels=32), head=dict(in_channels=1024, num_classes=10))
randomness = dict(seed=0)
