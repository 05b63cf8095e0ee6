_base_ = 'moving_digits_5e.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(eta_max=1e-3, total_steps=3)
train_cfg = dict(max_epochs=3)
auto_scale_lr = dict(base_batch_size=16)
