_base_ = 'resnet50_8xb32_in1k.py'
bam = dict(cfg=dict(type='mmcgc.BAM'), position='after_stage', stages=('layer1', 'layer2', 'layer3'))
model = dict(backbone=dict(type='mmcgc.PluginResNet', plugins=[bam]))
