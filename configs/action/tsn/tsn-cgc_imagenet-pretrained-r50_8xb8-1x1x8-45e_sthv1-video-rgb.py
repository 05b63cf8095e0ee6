_base_ = 'tsn_imagenet-pretrained-r50_8xb8-1x1x8-45e_sthv1-video-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=8)))
