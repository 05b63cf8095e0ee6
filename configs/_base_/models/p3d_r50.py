_base_ = 'mmaction::_base_/models/i3d_r50.py'
model = dict(
    backbone=dict(
        _delete_=True, type='mmcgc.ResNetP3DA', depth=50, pretrained='torchvision://resnet50', zero_init_residual=False
    )
)
