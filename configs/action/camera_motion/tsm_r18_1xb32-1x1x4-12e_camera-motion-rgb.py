_base_ = [
    'mmaction::_base_/models/tsm_r50.py',
    '../../_base_/datasets/camera_motion_bs32.py',
    '../../_base_/schedules/camera_motion_12e.py',
    '../../_base_/action_runtime.py',
]
model = dict(
    backbone=dict(depth=18, num_segments=4, pretrained=None, pretrained2d=False, norm_eval=False),
    cls_head=dict(num_segments=4, num_classes=8, in_channels=512, dropout_ratio=0),
)
randomness = dict(seed=0)
