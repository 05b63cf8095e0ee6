# mmaction2 puts Non-local blocks into the ResNet of TSM; without shift it is TSN's.
_base_ = 'tsn_imagenet-pretrained-r50_8xb8-1x1x8-45e_sthv1-rgb.py'
model = dict(
    backbone=dict(
        type='ResNetTSM',
        is_shift=False,
        non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
        non_local_cfg=dict(use_scale=False, sub_sample=True, mode='dot_product', norm_cfg=dict(type='BN3d')),
    )
)
