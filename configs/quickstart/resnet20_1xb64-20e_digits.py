_base_ = 'resnet20_1xb32-10e_digits.py'
train_dataloader = dict(batch_size=64)
param_scheduler = dict(total_steps=20)
train_cfg = dict(max_epochs=20)
auto_scale_lr = dict(base_batch_size=64)
