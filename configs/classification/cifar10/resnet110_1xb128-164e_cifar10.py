_base_ = 'resnet20_1xb128-164e_cifar10.py'
model = dict(backbone=dict(depth=110))
