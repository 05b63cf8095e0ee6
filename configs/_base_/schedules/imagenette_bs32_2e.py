_base_ = 'mmpretrain::_base_/schedules/imagenet_bs256.py'
param_scheduler = dict(
    _delete_=True, type='OneCycleLR', eta_max=0.05, total_steps=2, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=2)
auto_scale_lr = dict(base_batch_size=32)
