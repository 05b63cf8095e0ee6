_base_ = [
    '../../_base_/models/p3d_r50.py',
    '../../_base_/datasets/sthv1_32f_videos.py',
    '../../_base_/schedules/sthv1_50e.py',
    '../../_base_/action_runtime.py',
]
model = dict(cls_head=dict(num_classes=174, dropout_ratio=0.8))
