_base_ = [
    '../../_base_/models/tsn_resnet14_quarter.py',
    '../../_base_/datasets/camera_motion_64px_bs32.py',
    '../../_base_/schedules/camera_motion_12e.py',
    '../../_base_/action_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=3e-3))  # a small network learns faster with it
param_scheduler = dict(eta_max=3e-3)
randomness = dict(seed=0)
