# The CPU time that 20 epochs take with gates.
_base_ = 'resnet20_1xb128-20e_cifar10.py'
param_scheduler = dict(total_steps=44)
train_cfg = dict(max_epochs=44)
