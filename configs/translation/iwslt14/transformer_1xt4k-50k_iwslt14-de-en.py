_base_ = 'lightconv_1xt4k-50k_iwslt14-de-en.py'
mixer = dict(_delete_=True, type='mmcgc.SelfAttention', dropout=0.1)
model = dict(
    encoder=dict(mixer=mixer, kernel_sizes=None, num_layers=6),
    decoder=dict(mixer=mixer, kernel_sizes=None, num_layers=6, tied=True),
)
