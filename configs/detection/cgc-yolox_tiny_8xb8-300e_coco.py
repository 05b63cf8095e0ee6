_base_ = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'
custom_imports = dict(imports=['mmcgc'])
# The norms of the gates look at each picture alone, as a GPU has few of them.
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', gate=dict(init='preserve', norm='group'))))
