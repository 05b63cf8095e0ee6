_base_ = 'tsn_r14-quarter_1xb32-1x1x4-12e_camera-motion-64px-rgb.py'
model = dict(backbone=dict(type='mmcgc.ShiftedResNet', num_segments=4))
