"""List the figures that Tables 1 to 4 of the paper print, and the config of each system that this repository builds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of a table, with its figures as printed.

    Attributes:
        name: Name of the system.
        config: Its file under ``configs/``, or a pattern that one file matches; empty for a system that the paper only
            cites.
        params: The printed parameters; empty if the paper gives none.
        scores: The printed accuracies, in the order of the table's columns.
        mflops: The printed increment of MFLOPs; empty if there is none.
        base: Config of the system that ``mflops`` is an increment over.
        undecided: Why the printed parameters do not decide how the system is built; ours need not agree then.
        unmatched: Why ours do not match ``mflops``; they need not agree then.
        remark: What the printed figures leave open although ours agree.
    """

    name: str
    config: str
    params: str
    scores: tuple[str, ...]
    mflops: str = ''
    base: str = ''
    undecided: str = ''
    unmatched: str = ''
    remark: str = ''


@dataclass(frozen=True)
class Table:
    """A table: title, names of its scores, lines.

    ``model`` overrides what the models of its configs would read from data, so that the data need not be there.
    """

    title: str
    scores: tuple[str, ...]
    rows: tuple[Row, ...]
    model: dict[str, int] = field(default_factory=dict)


IMAGENET = 'classification/imagenet/{}resnet50_8xb32_in1k.py'
CIFAR10 = 'classification/cifar10/{}_1xb128-164e_cifar10.py'
STHV1 = 'action/{}_sthv1-rgb.py'
IWSLT14 = 'translation/iwslt14/{}_*iwslt14-de-en.py'
FRAMES = 'the 3D gate; ours is the literal reading of Sec. 3.3'
STEM = 'the gate of the 7x7 stem; without it 25.59M too'


def _imagenet(name: str, config: str, params: str, mflops: str, *scores: str, **notes: str) -> Row:
    return Row(name, IMAGENET.format(config), params, scores, mflops, mflops and IMAGENET.format(''), **notes)


def _cifar10(name: str, config: str, params: str, mflops: str, *scores: str, **notes: str) -> Row:
    return Row(name, CIFAR10.format(config), params, scores, mflops, mflops and CIFAR10.format('resnet110'), **notes)


def _ablation(name: str, config: str, params: str, mflops: str, score: str, **notes: str) -> Row:
    return _cifar10(f'ResNet-110 + CGC {name}', f'cgc-resnet110-{config}', params, mflops, score, **notes)


def _sthv1(name: str, config: str, params: str, *scores: str, **notes: str) -> Row:
    return Row(name, config and STHV1.format(config), params, scores, **notes)


def _iwslt14(name: str, config: str, params: str, score: str, **notes: str) -> Row:
    return Row(name, config and IWSLT14.format(config), params, (score,), **notes)


_R50 = 'imagenet-pretrained-r50_8xb8-1x1x8-45e'
_R50_16 = 'imagenet-pretrained-r50_8xb4-1x1x16-45e'
_P3D = 'imagenet-pretrained-r50_8xb8-32x1x1-50e'

TABLES = {
    1: Table('Image classification', ('Top-1 (%)', 'Top-5 (%)'), (
        _imagenet('SE-ResNet-50', 'se-', '28.09M', '8', '77.18', '93.67'),
        _imagenet('BAM-ResNet-50', 'bam-', '25.92M', '83', '76.90', '93.40'),
        _imagenet('GC-ResNet-50', 'gc-', '28.11M', '8', '73.90', '91.70'),
        _imagenet('ResNet-50', '', '25.56M', '', '76.18', '92.91'),
        _imagenet('ResNet-50 + CGC', 'cgc-', '25.59M', '6', '77.30', '93.66', remark=STEM),
        _imagenet('CBAM-ResNet-50', 'cbam-', '28.09M', '15', '77.34', '93.69',
                  unmatched='the usual CBAM costs less than 15'),
        _imagenet('CBAM-ResNet-50 + CGC', 'cgc-cbam-', '28.12M', '21', '77.68', '93.68',
                  unmatched="it is the 15 of CBAM plus CGC's 5.898"),
        _cifar10('ResNet-110 (CIFAR-10)', 'resnet110', '1.73M', '', '93.96', '99.73'),
        _cifar10('ResNet-110 + CGC (CIFAR-10)', 'cgc-resnet110', '1.80M', '2', '94.86', '99.82'),
    )),
    2: Table('Ablations on CIFAR-10', ('Top-1 (%)',), (
        _cifar10('ResNet-110', 'resnet110', '1.73M', '', '93.96'),
        _cifar10('ResNet-110 + CGC', 'cgc-resnet110', '1.80M', '1.681', '94.86'),
        _ablation('only G(1)', 'only-g1', '1.75M', '1.447', '94.53'),
        _ablation('only G(2)', 'only-g2', '1.78M', '1.472', '94.41'),
        _ablation('G(1) * G(2)', 'product', '1.80M', '1.681', '94.59', remark='sigmoid of the product, or reverse'),
        _ablation('g = 1', 'one-group', '1.96M', '1.681', '94.97'),
        _ablation('d = k1 k2', 'full-latent', '1.81M', '1.741', '94.61'),
        _ablation('Shared Norm', 'shared-norm', '1.79M', '1.681', '94.72'),
        _ablation('Two Es', 'two-encodings', '1.80M', '1.871', '94.53'),
        _ablation('Shared D', 'shared-decoder', '1.79M', '1.681', '94.78'),
        _ablation("h' = 2 k1, w' = 2 k2", 'pool2x', '1.81M', '1.681', '94.68'),
        _ablation('MaxPool', 'maxpool', '1.80M', '1.681', '94.44'),
        _ablation('(res1,2,3)', 'res123', '1.80M', '1.678', '94.55'),
        _ablation('(res2,3)', 'res23', '1.78M', '1.052', '94.43'),
        _ablation('(res3)', 'res3', '1.76M', '0.622', '94.26'),
    )),
    3: Table('Action recognition on Something-Something v1', ('Top-1 (%)', 'Top-5 (%)'), (
        _sthv1('TRN, BNInception, 8 frames', '', '18.3M', '34.4', ''),
        _sthv1('TRN, 8 frames', '', '31.8M', '38.9', '68.1'),
        _sthv1('ECO, BNInc+Res18, 8 frames', '', '47.5M', '39.6', ''),
        _sthv1('ECO, BNInc+Res18, 16 frames', '', '47.5M', '41.4', ''),
        _sthv1('ECO En Lite, BNInc+Res18, 92 frames', '', '150M', '46.4', ''),
        _sthv1('TSN, 8 frames', f'tsn/tsn_{_R50}', '23.86M', '19.00', '44.98'),
        _sthv1('TSN + Non-local, 8 frames', f'tsn/tsn-nl_{_R50}', '31.22M', '25.73', '55.17'),
        _sthv1('TSN + CGC, 8 frames', f'tsn/tsn-cgc_{_R50}', '24.07M', '32.58', '60.06', undecided=FRAMES),
        _sthv1('P3D, 32 x 30 frames', f'p3d/p3d_{_P3D}', '25.38M', '45.17', '74.61'),
        _sthv1('P3D + Non-local, 32 x 30 frames', f'p3d/p3d-nl_{_P3D}', '32.73M', '45.88', '74.94'),
        _sthv1('P3D + CGC 1D, 32 x 30 frames', f'p3d/p3d-cgc-1d_{_P3D}', '25.39M', '46.14', '75.92'),
        _sthv1('P3D + CGC 3D, 32 x 30 frames', f'p3d/p3d-cgc-3d_{_P3D}', '25.61M', '46.35', '75.97', undecided=FRAMES),
        _sthv1('P3D + CGC 1D & 3D, 32 x 30 frames', f'p3d/p3d-cgc-1d-3d_{_P3D}', '25.62M', '46.53', '76.00',
               undecided=FRAMES),
        _sthv1('TSM, 8 frames', f'tsm/tsm_{_R50}', '23.86M', '44.65', '73.94'),
        _sthv1('TSM + Non-local, 8 frames', f'tsm/tsm-nl_{_R50}', '31.22M', '43.91', '72.18'),
        _sthv1('TSM + CGC, 8 frames', f'tsm/tsm-cgc_{_R50}', '24.07M', '46.00', '75.11', undecided=FRAMES),
        _sthv1('TSM, 16 frames', f'tsm/tsm_{_R50_16}', '23.86M', '46.61', '76.18'),
        _sthv1('TSM + CGC, 16 frames', f'tsm/tsm-cgc_{_R50_16}', '24.09M', '47.87', '77.22', undecided=FRAMES),
    )),
    4: Table("Machine translation on IWSLT'14 De-En", ('BLEU-4',), (
        _iwslt14('Deng et al. (2018)', '', '', '33.08'),
        _iwslt14('Transformer', 'transformer', '39.47M', '34.41'),
        _iwslt14('DynamicConv', 'dynamicconv', '38.69M', '35.16'),
        _iwslt14('LightConv', 'lightconv', '38.14M', '34.84'),
        _iwslt14('LightConv + Dynamic Encoder', 'lightconv-dynamic-encoder', '38.44M', '35.03'),
        _iwslt14('LightConv + CGC Encoder', 'cgc-lightconv', '38.15M', '35.21',
                 remark='the gate before the softmax, or after'),
    ), dict(source_vocabulary=8848, target_vocabulary=6632)),
}  # fmt: skip
