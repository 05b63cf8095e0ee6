_base_ = 'lightconv_1xt4k-50k_iwslt14-de-en.py'
model = dict(encoder=dict(mixer=dict(conv=dict(type='mmcgc.CGLightweightConv'))))
