"""ResNets of every library, and their logits."""

import functools

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

SMALL = dict(
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=7, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)


def image_model(depth, **backbone):
    head = dict(type='LinearClsHead', num_classes=7, in_channels=512 if depth == 18 else 2048)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=depth, **backbone),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(head, loss=dict(type='CrossEntropyLoss')),
            )
        )


def small_model(**backbone):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(SMALL, backbone=dict(type='mmcgc.CIFARResNet', depth=8, **backbone)))


def video_model(depth, kind='ResNet', **backbone):
    head = dict(num_classes=7, in_channels=512 if depth == 18 else 2048, init_std=0.01)
    with DefaultScope.overwrite_default_scope('mmaction'):
        return MODELS.build(
            dict(
                type='Recognizer2D',
                backbone=dict(type=kind, depth=depth, pretrained=None, **backbone),
                cls_head=dict(type='TSMHead' if kind == 'ResNetTSM' else 'TSNHead', **head),
            )
        )


def torchvision_model(depth):
    import torchvision

    return getattr(torchvision.models, f'resnet{depth}')(num_classes=7)


NON_LOCAL = dict(
    non_local=((0, 0, 0), (1, 0, 1, 0), (0,) * 6, (0, 0, 0)),
    non_local_cfg=dict(sub_sample=True, use_scale=False, norm_cfg=dict(type='BN3d'), mode='embedded_gaussian'),
)
BUILDERS = dict(
    torchvision=torchvision_model,
    mmpretrain=image_model,
    mmaction2=video_model,
    tsm=lambda depth: video_model(depth, 'ResNetTSM', pretrained2d=False, num_segments=4),
    tsm_nonlocal=lambda depth: video_model(depth, 'ResNetTSM', pretrained2d=False, num_segments=4, **NON_LOCAL),
)


@functools.cache
def build(name, depth):
    return randomise(BUILDERS[name](depth)).eval()


def randomise(model, seed=0):
    """Running statistics and affine parameters as after a training, so that every key counts."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in (
                (module.weight, 0.5),
                (module.running_var, 0.5),
                (module.bias, -0.2),
                (module.running_mean, -0.2),
            ):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (1 - low) * 0.8 + low)
            module.num_batches_tracked.fill_(3)
    return model


def logits(model, x):
    """(B, 3, H, W) -> (B, classes), whichever library the model is from; a frame is a clip of its own."""
    if not hasattr(model, 'backbone'):
        return model(x)
    if hasattr(model, 'cls_head'):
        return model.cls_head.fc_cls(model.backbone(x).mean((2, 3)))
    return model.head(model.neck(model.backbone(x)))
