_base_ = 'resnet50-half_1xb32-10e_imagenette-64px.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
