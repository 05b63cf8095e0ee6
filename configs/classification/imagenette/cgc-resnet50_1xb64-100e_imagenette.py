_base_ = 'resnet50_1xb64-100e_imagenette.py'
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
