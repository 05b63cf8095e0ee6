_base_ = 'tsn_r14-quarter_1xb32-1x1x4-12e_camera-motion-64px-rgb.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=4)))
