_base_ = [
    'mmaction::_base_/models/tsn_r50.py',
    '../../_base_/datasets/sthv1_8f_videos.py',
    '../../_base_/schedules/sthv1_45e.py',
    '../../_base_/action_runtime.py',
]
model = dict(backbone=dict(pretrained='torchvision://resnet50'), cls_head=dict(num_classes=174, dropout_ratio=0.5))
