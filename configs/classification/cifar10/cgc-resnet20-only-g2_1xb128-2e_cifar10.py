_base_ = 'cgc-resnet20_1xb128-2e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(branches='out'))))
