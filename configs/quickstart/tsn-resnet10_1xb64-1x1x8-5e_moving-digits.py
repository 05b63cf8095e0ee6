_base_ = [
    '../_base_/models/tsn_resnet10.py',
    '../_base_/datasets/moving_digits_bs64.py',
    '../_base_/schedules/moving_digits_5e.py',
    '../_base_/action_runtime.py',
]
default_hooks = dict(logger=dict(interval=10))
randomness = dict(seed=0)
