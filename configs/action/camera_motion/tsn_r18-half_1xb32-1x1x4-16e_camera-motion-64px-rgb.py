_base_ = [
    '../../_base_/models/tsn_resnet18_half.py',
    '../../_base_/datasets/camera_motion_64px_bs32.py',
    '../../_base_/schedules/camera_motion_12e.py',
    '../../_base_/action_runtime.py',
]
optim_wrapper = dict(type='mmcgc.BFloat16OptimWrapper')  # a CPU trains in less time with it
param_scheduler = dict(total_steps=16)
train_cfg = dict(max_epochs=16)
randomness = dict(seed=0)
