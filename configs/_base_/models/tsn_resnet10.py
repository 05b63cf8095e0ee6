# ResNet-18's stem and its first two stages, with a quarter of the channels.
model = dict(
    type='Recognizer2D',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
    ),
    cls_head=dict(type='TSNHead', num_classes=8, in_channels=32, dropout_ratio=0.0, average_clips='prob'),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[20.0] * 3, std=[55.0] * 3, format_shape='NCHW'),
)
