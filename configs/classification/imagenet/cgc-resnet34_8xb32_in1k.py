_base_ = 'mmpretrain::resnet/resnet34_8xb32_in1k.py'
custom_imports = dict(imports=['mmcgc'], allow_failed_imports=False)
model = dict(backbone=dict(conv_cfg=dict(type='CGConv')))
