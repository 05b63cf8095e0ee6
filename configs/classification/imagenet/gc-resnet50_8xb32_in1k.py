_base_ = 'resnet50_8xb32_in1k.py'
gc = dict(cfg=dict(type='ContextBlock', ratio=1 / 16), position='after_conv3')
model = dict(backbone=dict(type='mmcgc.PluginResNet', plugins=[gc]))
