"""Build networks of other libraries, plain and gated, as each library does; no weights are downloaded."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from ..layers import convert_to_cgc
from .missing_operators import stand_in_for_operators
from .network import build_network


@dataclass(frozen=True)
class Source:
    """A library whose networks can be gated.

    Attributes:
        needs: The modules that are imported, and for each the pip package that brings it.
        build: The function that takes a network's name and whether it is gated, and returns the network.
        loss: The function that takes a network and its input x (B, 3, *S), and returns a loss of the library.
        networks: The names that are checked by default, with the size S of their input, None for (64, 64).  If a map
            shrinks to one pixel, a batch norm over two samples gives mere signs, which rounding in float32 may flip:
            such an input is too small to compare networks.
    """

    needs: dict[str, str]
    build: Callable[[str, bool], nn.Module]
    loss: Callable[[nn.Module, Tensor], Tensor]
    networks: dict[str, tuple[int, ...] | None]

    def inputs(self, name: str) -> Tensor:
        """Return two random inputs (2, 3, *S), the same at each call."""
        size = self.networks.get(name) or (64, 64)
        return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))

    def require(self) -> None:
        """Import the modules that the networks need.

        Raises:
            ImportError: If a module is missing or lacks something itself; the error names its pip package.
        """
        stand_in_for_operators()
        for module, package in self.needs.items():
            try:
                importlib.import_module(module)
            except (ImportError, AssertionError) as error:  # mmdet and mmseg assert the versions of their neighbours
                raise ImportError(f'{module} cannot be imported ({error}): pip install {package}') from error


def _by_config(cfg: Config, gated: bool) -> nn.Module:
    """Build the model of a config, gated as by the line ``model = dict(type='mmcgc.GatedNetwork', network=...)``."""
    if gated:
        network = f'{cfg.default_scope}.{cfg.model.type}'
        cfg.merge_from_dict(dict(model=dict(type='mmcgc.GatedNetwork', network=network)))
    return revert_sync_batchnorm(build_network(cfg))  # as OpenMMLab's tools do if there is one process


def _recipe(library: str) -> Callable[[str, bool], nn.Module]:
    """Return a function that builds a library's recipe, gated as a whole, or a leaf of ours that gates its backbone."""

    def build(name: str, gated: bool) -> nn.Module:
        if not name.startswith('mmcgc::'):
            return _by_config(Config.fromstring(f"_base_ = '{library}::{name}.py'", '.py'), gated)
        cfg = Config.fromstring(f"_base_ = '{name}.py'", '.py')
        if not gated:
            cfg.model.backbone.conv_cfg = None
        return revert_sync_batchnorm(build_network(cfg))

    return build


def _timm(name: str, gated: bool) -> nn.Module:
    model = dict(type='TimmClassifier', model_name=name)
    return _by_config(Config(dict(default_scope='mmpretrain', model=model)), gated)


def _torchvision(name: str, gated: bool) -> nn.Module:
    from torchvision.models import get_model, get_model_builder

    options = dict(weights=None, weights_backbone=None)
    known = inspect.signature(get_model_builder(name)).parameters
    model = get_model(name, **{key: value for key, value in options.items() if key in known})
    return convert_to_cgc(model) if gated else model


def class_loss(model: nn.Module, x: Tensor) -> Tensor:
    """Sum the cross entropy of class 0 over all outputs (B, classes, ...)."""
    return sum(F.cross_entropy(y, torch.zeros_like(y[:, 0], dtype=torch.long)) for y in tree_leaves(model(x)))


def _timm_loss(model: nn.Module, x: Tensor) -> Tensor:
    from mmpretrain.structures import DataSample

    return _parsed_loss(model, x, [DataSample().set_gt_label(0) for _ in x])


def _detection_loss(model: nn.Module, x: Tensor) -> Tensor:
    from mmdet.structures import DetDataSample

    boxes = InstanceData(bboxes=torch.tensor([[8.0, 8.0, 40.0, 48.0]]), labels=torch.tensor([0]))
    shape = tuple(x.shape[2:])
    metainfo = dict(img_shape=shape, batch_input_shape=shape, pad_shape=shape, scale_factor=(1, 1))
    return _parsed_loss(model, x, [DetDataSample(metainfo=metainfo, gt_instances=boxes) for _ in x])


def _segmentation_loss(model: nn.Module, x: Tensor) -> Tensor:
    from mmseg.structures import SegDataSample

    classes = PixelData(data=torch.zeros(1, *x.shape[2:], dtype=torch.long))
    return _parsed_loss(model, x, [SegDataSample(gt_sem_seg=classes) for _ in x])


def _parsed_loss(model: nn.Module, x: Tensor, samples: list) -> Tensor:
    return model.parse_losses(model(x, samples, mode='loss'))[0]


SOURCES = {
    'timm': Source(
        {'timm': 'timm', 'mmpretrain': 'mmpretrain mmcv-lite==2.1.0'},
        _timm,
        _timm_loss,
        dict.fromkeys(
            'resnet18 resnest14d seresnext26t_32x4d skresnet18 resnetv2_50x1_bit densenet121 regnetx_002 nf_regnet_b0 '
            'dla34 hrnet_w18_small mobilenetv3_small_100 tf_efficientnet_b0 mixnet_s repvgg_a0 convnext_atto '
            'mobilevit_xxs fastvit_t8 pvt_v2_b0'.split()
        )
        | dict(inception_v3=(160, 160), vit_tiny_patch16_224=(224, 224)),
    ),
    'torchvision': Source(
        {'torchvision': 'torchvision'},
        _torchvision,
        class_loss,
        dict.fromkeys(
            'alexnet vgg11_bn resnet18 googlenet squeezenet1_1 mobilenet_v3_small shufflenet_v2_x0_5 efficientnet_b0 '
            'lraspp_mobilenet_v3_large'.split()
        )
        | dict(r3d_18=(4, 32, 32)),
    ),
    'mmdet': Source(
        {'mmdet.models': 'mmdet==3.3.0 mmcv-lite==2.1.0'},
        _recipe('mmdet'),
        _detection_loss,
        dict.fromkeys(
            [
                'retinanet/retinanet_r50_fpn_1x_coco',
                'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco',
                'yolox/yolox_tiny_8xb8-300e_coco',
                'mmcgc::detection/cgc-retinanet_r50_fpn_1x_coco',
                'mmcgc::detection/cgc-fcos_r50-caffe_fpn_gn-head_1x_coco',
                'mmcgc::detection/cgc-yolox_tiny_8xb8-300e_coco',
            ]
        ),
    ),
    'mmseg': Source(
        {'mmseg.models': 'mmsegmentation==1.2.2 mmcv-lite==2.1.0 ftfy regex'},
        _recipe('mmseg'),
        _segmentation_loss,
        dict.fromkeys(
            [
                'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024',
                'upernet/upernet_r50_4xb2-40k_cityscapes-512x1024',
                'mmcgc::segmentation/cgc-fcn_r50-d8_4xb2-40k_cityscapes-512x1024',
                'mmcgc::segmentation/cgc-upernet_r50_4xb2-40k_cityscapes-512x1024',
            ]
        ),
    ),
}
