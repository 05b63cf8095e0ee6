_base_ = 'tsm_imagenet-pretrained-r50_8xb8-1x1x8-45e_sthv1-rgb.py'
model = dict(
    backbone=dict(
        non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
        non_local_cfg=dict(use_scale=False, sub_sample=True, mode='dot_product', norm_cfg=dict(type='BN3d')),
    )
)
