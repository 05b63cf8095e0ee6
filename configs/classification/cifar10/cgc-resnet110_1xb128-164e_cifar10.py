_base_ = 'resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
