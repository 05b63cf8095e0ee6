_base_ = 'tsm_imagenet-pretrained-r50_8xb4-1x1x16-45e_sthv1-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=16)))
