# Table 2: g = 1, a full linear layer between the channels.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(conv_cfg=dict(gate=dict(channel_groups=1))))
