_base_ = 'resnet50_8xb32_in1k.py'
objects = dict(_delete_=True, type='mmcgc.ObjectNet', data_root='data/objectnet', pipeline={{_base_.test_pipeline}})
test_dataloader = dict(dataset=objects)
test_evaluator = dict(type='mmcgc.AnyLabelAccuracy')
