# Gates where kernels are small beside the maps, which a CPU can afford; they start at 1/2.
_base_ = 'tsm_r18_1xb16-1x1x4-4e_camera-motion-rgb.py'
model = dict(
    backbone=dict(
        type='mmcgc.GatedStages',
        network='mmaction.ResNetTSM',
        stages=('conv1', 'layer1'),
        conv_cfg=dict(type='CGConv', num_segments=4, gate=dict(init='preserve'))))
