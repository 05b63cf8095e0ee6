"""The five rows of Table 4, as token mixers of encoder and decoder."""

LIGHT, DYNAMIC, GATED = (
    dict(type='mmcgc.ConvMixer', conv=dict(type=f'mmcgc.{name}', weight_dropout=0.1))
    for name in ('LightweightConv', 'DynamicConv', 'CGLightweightConv')
)
ATTENTION = dict(type='mmcgc.SelfAttention', dropout=0.1)
KINDS = {
    'transformer': (ATTENTION, ATTENTION),
    'dynamicconv': (DYNAMIC, DYNAMIC),
    'lightconv': (LIGHT, LIGHT),
    'lightconv-dynamic-encoder': (DYNAMIC, LIGHT),
    'cgc-lightconv': (GATED, LIGHT),
}
