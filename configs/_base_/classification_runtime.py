_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmcgc'], allow_failed_imports=False)
custom_hooks = [dict(type='mmcgc.CurvesHook'), dict(type='mmcgc.GateStatisticsHook')]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='auto'))
