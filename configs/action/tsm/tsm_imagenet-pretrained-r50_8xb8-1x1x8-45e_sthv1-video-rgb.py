_base_ = [
    'mmaction::_base_/models/tsm_r50.py',
    '../../_base_/datasets/sthv1_8f_videos.py',
    '../../_base_/schedules/sthv1_45e.py',
    '../../_base_/action_runtime.py',
]
model = dict(cls_head=dict(num_classes=174))
