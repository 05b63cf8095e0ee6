# This model is small enough for short sentences and a CPU.
mixer = dict(type='mmcgc.ConvMixer', conv=dict(type='mmcgc.LightweightConv', weight_dropout=0.1))
sizes = dict(mixer=mixer, kernel_sizes=[3, 7, 15, 31], channels=128, hidden=256, heads=4, dropout=0.3)
model = dict(
    type='mmcgc.TranslationModel',
    encoder=sizes,
    decoder=dict(**sizes, attention_dropout=0.1),
    label_smoothing=0.1,
    search=dict(beam=6, length_penalty=1.0),
)
