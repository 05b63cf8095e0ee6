# Section 3.3; momentum, weight decay, clipping and the rates of each layer, which it leaves open, are TSM's.
_base_ = 'mmaction::_base_/schedules/sgd_tsm_50e.py'
optim_wrapper = dict(constructor='mmcgc.GatedTSMOptimWrapperConstructor', optimizer=dict(lr=0.025, weight_decay=5e-4))
param_scheduler = dict(_delete_=True, type='MultiStepLR', milestones=[26, 36], gamma=0.1)
train_cfg = dict(max_epochs=45)
auto_scale_lr = dict(enable=False, base_batch_size=64)
