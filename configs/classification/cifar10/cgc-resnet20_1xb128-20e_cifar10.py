_base_ = 'resnet20_1xb128-20e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
