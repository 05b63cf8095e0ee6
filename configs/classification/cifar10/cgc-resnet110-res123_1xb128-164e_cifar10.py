# Table 2: (res1,2,3); the stem is plain.
_base_ = 'cgc-resnet110_1xb128-164e_cifar10.py'
model = dict(
    backbone=dict(type='mmcgc.GatedStages', network='mmcgc.CIFARResNet', stages=('layer1', 'layer2', 'layer3'))
)
