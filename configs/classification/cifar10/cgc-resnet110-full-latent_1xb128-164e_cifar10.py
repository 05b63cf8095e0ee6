# Table 2: d = k1 k2, no bottleneck.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(latent='full'))))
