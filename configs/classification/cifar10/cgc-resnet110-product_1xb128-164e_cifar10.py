# Table 2: G(1) * G(2), inside the sigmoid.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(combine='product'))))
