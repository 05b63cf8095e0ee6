_base_ = 'tsm_r18-half_1xb32-1x1x4-16e_camera-motion-64px-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=4)))
