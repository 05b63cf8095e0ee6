# Table 2: h' = 2 k1, w' = 2 k2.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(pool_scale=2))))
