_base_ = 'lightconv_1xt4k-50k_iwslt14-de-en.py'
mixer = dict(conv=dict(type='mmcgc.DynamicConv'))
model = dict(encoder=dict(mixer=mixer), decoder=dict(mixer=mixer))
