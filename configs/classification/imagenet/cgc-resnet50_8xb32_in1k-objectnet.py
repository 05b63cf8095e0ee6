_base_ = 'resnet50_8xb32_in1k-objectnet.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
