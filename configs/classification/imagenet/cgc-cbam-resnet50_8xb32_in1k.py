_base_ = 'cbam-resnet50_8xb32_in1k.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
