# The paper's schedule (cifar10_164e.py) in an eighth of its time.
_base_ = 'cifar10_164e.py'
param_scheduler = dict(milestones=[10, 15])
train_cfg = dict(max_epochs=20)
