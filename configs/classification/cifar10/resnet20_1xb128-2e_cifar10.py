_base_ = 'resnet20_1xb128-8e_cifar10.py'
param_scheduler = dict(total_steps=2)
train_cfg = dict(max_epochs=2)
