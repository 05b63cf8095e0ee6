# A sixth of the learning rate of moving digits: gates stay at chance for an epoch or two, longer if it is high.
_base_ = 'moving_digits_5e.py'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(eta_max=5e-4, total_steps=12)
train_cfg = dict(max_epochs=12, val_interval=2)
auto_scale_lr = dict(base_batch_size=32)
