_base_ = 'tsn-resnet10_1xb64-1x1x8-5e_moving-digits.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=8)))
