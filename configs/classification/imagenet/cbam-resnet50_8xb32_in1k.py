_base_ = 'resnet50_8xb32_in1k.py'
cbam = dict(cfg=dict(type='mmcgc.CBAM'), position='after_conv3')
model = dict(backbone=dict(type='mmcgc.PluginResNet', plugins=[cbam]))
