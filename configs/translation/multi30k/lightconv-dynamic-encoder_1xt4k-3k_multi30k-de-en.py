_base_ = 'lightconv_1xt4k-3k_multi30k-de-en.py'
model = dict(encoder=dict(mixer=dict(conv=dict(type='mmcgc.DynamicConv'))))
