# Table 2: only G(2).
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(branches='out'))))
