# Table 2: (res3).
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(backbone=dict(type='mmcgc.GatedStages', network='mmcgc.CIFARResNet', stages=('layer3',)))
