# Table 2: Shared D.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(shared_decoder=True))))
