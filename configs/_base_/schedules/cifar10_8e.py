_base_ = 'mmpretrain::_base_/schedules/cifar10_bs128.py'
param_scheduler = dict(
    _delete_=True, type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=8)
