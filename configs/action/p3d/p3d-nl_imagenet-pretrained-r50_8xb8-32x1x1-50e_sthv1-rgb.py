_base_ = 'p3d_imagenet-pretrained-r50_8xb8-32x1x1-50e_sthv1-rgb.py'
model = dict(
    backbone=dict(
        non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
        non_local_cfg=dict(use_scale=False, sub_sample=True, mode='dot_product', norm_cfg=dict(type='BN3d')),
    )
)
