_base_ = 'mmseg::upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmcgc'])
# The norms of the gates look at each picture alone, as a GPU has few of them.
model = dict(backbone=dict(conv_cfg=dict(type='CGConv', gate=dict(init='preserve', norm='group'))))
