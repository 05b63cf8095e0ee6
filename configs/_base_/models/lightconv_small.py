# For short sentences and a CPU.
mixer = dict(type='mmcgc.ConvMixer', conv=dict(type='mmcgc.LightweightConv', weight_dropout=0.1))
sizes = dict(mixer=mixer, kernel_sizes=[3, 7, 15], channels=256, hidden=512, heads=4, dropout=0.2)
model = dict(
    type='mmcgc.TranslationModel',
    encoder=sizes,
    decoder=dict(**sizes, attention_dropout=0.1),
    label_smoothing=0.1,
    search=dict(beam=6, length_penalty=1.0))
