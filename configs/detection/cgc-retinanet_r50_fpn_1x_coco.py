_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmcgc'])
# A gate that never learns leaves its kernel as it is; the norms of the others take no statistics.
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', gate=dict(init='preserve', norm='group'))))
