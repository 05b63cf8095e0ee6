_base_ = 'tsn_r18-half_1xb32-1x1x4-16e_camera-motion-64px-rgb.py'
model = dict(backbone=dict(type='mmcgc.ShiftedResNet', num_segments=4))
