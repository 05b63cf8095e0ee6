_base_ = [
    'mmaction::_base_/models/tsm_r50.py',
    '../../_base_/datasets/sthv1_16f_rawframes.py',
    '../../_base_/schedules/sthv1_45e.py',
    '../../_base_/action_runtime.py',
]
model = dict(backbone=dict(num_segments=16), cls_head=dict(num_segments=16, num_classes=174))
train_dataloader = dict(batch_size=4)
val_dataloader = dict(batch_size=4)
test_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
