_base_ = 'resnet20_1xb64-20e_digits.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
