# Gates where kernels are small beside the maps: that is what a CPU can afford.
_base_ = 'tsn_r18_1xb16-1x1x4-5e_camera-motion-rgb.py'
model = dict(
    backbone=dict(
        type='mmcgc.GatedStages',
        network='mmaction.ResNet',
        stages=('conv1', 'layer1', 'layer2'),
        conv_cfg=dict(type='CGConv', num_segments=4)))
