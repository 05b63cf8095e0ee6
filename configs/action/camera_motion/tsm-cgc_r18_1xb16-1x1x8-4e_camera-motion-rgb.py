_base_ = 'tsm_r18_1xb16-1x1x8-4e_camera-motion-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=8)))
