_base_ = 'lightconv_1xt2k-1k_number-words.py'
model = dict(encoder=dict(mixer=dict(conv=dict(type='mmcgc.CGLightweightConv'))))
