# The sizes of fairseq's lightconv_iwslt_de_en, without the GLU.
mixer = dict(type='mmcgc.ConvMixer', conv=dict(type='mmcgc.LightweightConv', weight_dropout=0.1))
sizes = dict(mixer=mixer, channels=512, hidden=1024, heads=4, dropout=0.3)
model = dict(
    type='mmcgc.TranslationModel',
    encoder=dict(**sizes, kernel_sizes=[3, 7, 15, 31, 31, 31, 31]),
    decoder=dict(**sizes, kernel_sizes=[3, 7, 15, 31, 31, 31], attention_dropout=0.1),
    label_smoothing=0.1,
    search=dict(beam=6, length_penalty=1.0),
)
