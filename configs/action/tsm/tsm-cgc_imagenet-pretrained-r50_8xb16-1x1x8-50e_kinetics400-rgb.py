_base_ = 'mmaction::recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py'
custom_imports = dict(imports=['mmcgc'], allow_failed_imports=False)
custom_hooks = [dict(type='mmcgc.CurvesHook'), dict(type='mmcgc.ClipsHook')]
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', num_segments=8)))
optim_wrapper = dict(constructor='mmcgc.GatedTSMOptimWrapperConstructor')
