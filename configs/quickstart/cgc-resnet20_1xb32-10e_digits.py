_base_ = 'resnet20_1xb32-10e_digits.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
