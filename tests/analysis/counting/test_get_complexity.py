"""Multiply-adds against hand counts, the paper's networks, and the tool on image and video configs."""

import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from torch import nn

from mmcgc import CGConv2d, ContextGate
from mmcgc.analysis.counting.get_complexity import analyse, gate_multiply_adds
from mmcgc.analysis.network import build_network, input_shape

CONFIGS = ROOT / 'configs'
CLASSIFICATION = CONFIGS / 'classification'


def measure(config):
    cfg = Config.fromfile(CLASSIFICATION / f'{config}.py')
    return analyse(build_network(cfg), torch.zeros(input_shape(cfg)))


def test_a_layer_counted_by_hand():
    """32 to 64 channels, 3x3, groups of 16: d = 5, two channel groups of 16 to 32."""
    network = nn.Sequential(CGConv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
                            nn.Linear(64 * 4 * 3, 10)).eval()  # fmt: skip
    found = analyse(network, torch.zeros(2, 32, 8, 6))
    assert found.gates == {
        'pooling': 2 * 32 * 8 * 6,
        'context encoding': 2 * 32 * 9 * 5,
        'channel interacting': 2 * 5 * 64 * 16,
        'gate decoding': 2 * (32 + 64) * 5 * 9,
        'other gates': 0,
        'gating the kernel': 2 * 64 * 32 * 9,
    }
    plain = 2 * (64 * 32 * 9 * 4 * 3 + 768 * 10)
    assert found.multiply_adds == plain + sum(found.gates.values())
    assert found.gate_parameters == 9 * 5 + 4 * 32 + 16 * 32 + 2 * 64 + 2 * 5 * 9
    assert found.parameters == 64 * 32 * 9 + 64 + 2 * 64 + 7690 + found.gate_parameters
    assert found.uncounted == ()


@pytest.mark.parametrize('options, encoding, interacting, decoding', [
    (dict(branches='in'), 16 * 45, 0, 16 * 45),
    (dict(branches='out'), 16 * 45, 5 * 16 * 32, 32 * 45),
    (dict(shared_decoder=True), 16 * 45, 5 * 16 * 32, (16 + 32) * 45),
    (dict(separate_encoding=True), 2 * 16 * 45, 5 * 16 * 32, (16 + 32) * 45),
    (dict(channel_groups=4), 16 * 45, 5 * 32 * 4, (16 + 32) * 45),
    (dict(latent='full'), 16 * 90, 10 * 16 * 32, (16 + 32) * 90),
    (dict(pool_scale=2, pool='max'), 16 * 36 * 5, 5 * 16 * 32, (16 + 32) * 45),
    (dict(num_frames=4), 16 * 27 * 14, 14 * 16 * 32, (16 + 32) * 14 * 4 * 9),
    (dict(num_frames=4, temporal_decoder='additive'), 16 * 27 * 14, 14 * 16 * 32, (16 + 32) * 14 * (4 + 9)),
], ids=lambda v: '-'.join(v) if isinstance(v, dict) else None)  # fmt: skip
def test_every_switch_of_the_gate(options, encoding, interacting, decoding):
    """For one sample, or one clip, of 16 channels to 32; twice that for two."""
    gate = ContextGate(16, 32, (3, 3), **options)
    frames = options.get('num_frames', 1)
    for clips in (1, 2):
        counts = gate_multiply_adds(gate, (clips * frames, 16, 7, 5))
        assert [counts[part] for part in ('context encoding', 'channel interacting', 'gate decoding')] == [
            clips * encoding, clips * interacting, clips * decoding]  # fmt: skip
        assert counts['pooling'] == clips * frames * 16 * 7 * 5


def test_analysing_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    network, x = CGConv2d(8, 8, 3, gate=dict(branches='in')).eval(), torch.randn(2, 8, 6, 6)
    before = network(x)
    analyse(network, x)
    assert torch.equal(network(x), before)


def test_products_that_broadcast():
    class Mix(nn.Module):
        def forward(self, x):
            return torch.ones(5, 7) @ x

    assert analyse(Mix(), torch.zeros(2, 3, 7, 4)).multiply_adds == 2 * 3 * 5 * 7 * 4


def test_a_custom_operator_without_a_formula_is_named():
    @torch.library.custom_op('mmcgc_test::double', mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    class Double(nn.Module):
        def forward(self, x):
            return double(x)

    assert analyse(Double(), torch.zeros(3)).uncounted == ('mmcgc_test::double',)


@pytest.mark.parametrize('config, plain, gates, product', [
    ('imagenet/cgc-resnet50_8xb32_in1k', 4_089_284_608, 14_286_262, 11_326_656),
    ('cifar10/cgc-resnet110_1xb128-164e_cifar10', 253_153_920, 3_630_558, 1_719_216),
], ids=['resnet50', 'resnet110'])  # fmt: skip
def test_the_true_cost_of_the_papers_networks(config, plain, gates, product):
    found = measure(config)
    assert sum(found.gates.values()) == gates and found.gates['gating the kernel'] == product
    assert found.multiply_adds == plain + gates


def test_attention_has_no_gates():
    found = measure('imagenet/gc-resnet50_8xb32_in1k')
    stages = [(3, 256, 56), (4, 512, 28), (6, 1024, 14), (3, 2048, 7)]  # blocks, channels, side
    extra = sum(n * (2 * c * s * s + 2 * c * c // 16) for n, c, s in stages)  # mask and weighted sum, bottleneck
    assert found.multiply_adds == 4_089_284_608 + extra
    assert found.gate_parameters == sum(found.gates.values()) == 0


IMAGE = dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type='Resize', scale=(20, 30))])), model={})
CLIP = [dict(type='SampleFrames', clip_len=2, num_clips=3), dict(type='Resize', scale=(-1, 256)),
        dict(type='Resize', scale=(24, 16), keep_ratio=False)]  # fmt: skip


def video(layout):
    pipeline = [*CLIP, dict(type='FormatShape', input_format=layout)]
    return dict(train_dataloader=dict(dataset=dict(type='Repeat', dataset=dict(pipeline=pipeline))), model={})


@pytest.mark.parametrize('config, size, expected', [
    (IMAGE, None, (1, 3, 30, 20)),
    (IMAGE, [7], (1, 3, 7, 7)),
    (IMAGE, [7, 9], (1, 3, 7, 9)),
    (dict(IMAGE, model=dict(backbone=dict(in_channels=1))), [7], (1, 1, 7, 7)),
    (video('NCHW'), None, (1, 6, 3, 16, 24)),
    (video('NCTHW'), None, (1, 1, 3, 6, 16, 24)),
    (video('NCTHW'), [8], (1, 1, 3, 6, 8, 8)),
    (video('NCHW'), [4, 8, 9], (1, 4, 3, 8, 9)),
], ids=['image', 'square', 'height-width', 'grey', 'frames', 'clip', 'clip-square', 'time-height-width'])  # fmt: skip
def test_input_shape(config, size, expected):
    assert input_shape(Config(config), size) == expected


@pytest.mark.parametrize('config, size, words', [
    (IMAGE, [1, 2, 3], 'S or H W for this image config.*1, 2, 3'),
    (IMAGE, [0], 'takes positive numbers'),
    (video('NCHW'), [1, 2, 3, 4], 'T H W'),
    (dict(model={}), None, '--shape H W'),
], ids=['image-frames', 'zero', 'four', 'no-pipeline'])  # fmt: skip
def test_sizes_that_do_not_fit(config, size, words):
    with pytest.raises(ValueError, match=words):
        input_shape(Config(config), size)


def run_tool(*args):
    command = [sys.executable, ROOT / 'tools' / 'analysis' / 'get_complexity.py', *args]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)


def figures(text, line):
    return [int(cell.replace(',', '')) for cell in next(row for row in text.splitlines() if f'| {line} ' in row)
            .split('|')[2:4]]  # fmt: skip


def test_tool_on_an_image_config():
    done = run_tool(CLASSIFICATION / 'cifar10' / 'cgc-resnet20_1xb128-8e_cifar10.py')
    assert done.returncode == 0, done.stderr
    assert 'input (1, 3, 32, 32)' in done.stdout
    assert figures(done.stdout, 'whole network') == [284_091, 41_413_758]
    assert figures(done.stdout, 'without the gates') == [272_474, 41_413_758 - 596_478]
    assert figures(done.stdout, 'the gates') == [11_617, 596_478]


def test_tool_on_a_video_config(tmp_path):
    """A gate for each of four frames from the context of all four, in mmaction2's TSM."""
    config = tmp_path / 'tsm.py'
    config.write_text(
        "_base_ = 'mmaction::recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py'\n"
        "custom_imports = dict(imports=['mmcgc'], allow_failed_imports=False)\n"
        "model = dict(backbone=dict(num_segments=4, conv_cfg=dict(type='CGConv', num_segments=4)),\n"
        '             cls_head=dict(num_segments=4))\n'
    )
    done = run_tool(config, '--shape', '4', '64', '64')
    assert done.returncode == 0, done.stderr
    assert 'input (1, 4, 3, 64, 64)' in done.stdout
    gates = figures(done.stdout, 'the gates')
    plain = figures(done.stdout, 'without the gates')
    assert plain[0] == 23_508_032 + 2048 * 400 + 400
    assert plain[1] > 4 * 330e6 and gates[1] > 4 * 11_326_656


def test_tool_names_a_missing_config():
    done = run_tool('nowhere.py')
    assert done.returncode != 0 and 'nowhere.py' in done.stderr.splitlines()[-1]
