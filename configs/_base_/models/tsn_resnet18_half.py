# ResNet-18 with half the channels.
model = dict(
    type='Recognizer2D',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=32, base_channels=32),
    cls_head=dict(type='TSNHead', num_classes=8, in_channels=256, dropout_ratio=0.0, average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape='NCHW'
    ),
)
