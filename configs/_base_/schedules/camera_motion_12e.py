# A third of the learning rate of moving digits.
_base_ = 'moving_digits_5e.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(eta_max=1e-3, total_steps=12)
train_cfg = dict(max_epochs=12)
auto_scale_lr = dict(base_batch_size=32)
