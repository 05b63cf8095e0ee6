_base_ = 'p3d_imagenet-pretrained-r50_8xb8-32x1x1-50e_sthv1-video-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv3d', num_frames=32), temporal_conv_cfg=dict(type='CGConv3d')))
