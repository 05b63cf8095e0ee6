"""The README names what exists, and its commands, configs and Python do what it says."""

import re

import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT
from mmcv.cnn import build_conv_layer
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmcgc import CGConv2d
from mmcgc.ops import context_gated_conv

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def blocks(language: str) -> list[str]:
    """The code blocks of the README."""
    return re.findall(rf'^```{language}\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)


class TestReadme:
    commands = [block.rstrip('\n') for block in blocks('shell') if re.match(r'pip install .*&& python ', block)]

    def test_has_two_commands_of_one_line(self):
        assert len(self.commands) == 2 and not any('\n' in command for command in self.commands)
        assert 'tools/train.py' in self.commands[0] and 'pytest' in self.commands[1]

    def test_names_what_exists(self):
        links = re.findall(r'\]\((?!\w+:|#)([^)#]+)', README)
        shell = re.findall(r'(?:^|\s)((?:tools|configs)/[\w./-]+|requirements.txt)', '\n'.join(blocks('shell')))
        assert links and 'tools/train.py' in shell
        assert [path for path in links + shell if not (ROOT / path).exists()] == []

    @pytest.mark.parametrize(
        'config',
        [block for block in blocks('python') if block.startswith('_base_')],
        ids=['mmpretrain', 'mmaction2', 'any-network'],
    )
    def test_configs_gate_every_convolution(self, config, tmp_path):
        path = tmp_path / 'config.py'
        path.write_text(config, encoding='utf-8')
        config = Config.fromfile(path)
        with MODELS.switch_scope_and_registry(config.default_scope) as registry:
            model = registry.build(config.model)
        convs = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)]
        assert len(convs) in (17, 22) and all(isinstance(conv, CGConv2d) for conv in convs)  # ResNet-50, ConvNeXt-T

    def test_gate_options_are_known(self):
        names = {}
        exec(next(block for block in blocks('python') if block.startswith('conv_cfg')), names)
        layer = build_conv_layer(names['conv_cfg'], 32, 32, 3)
        assert layer.gate.pool == 'max' and layer.gate.channel_groups == 1

    def test_conversion_gates_what_is_included(self):
        names = {}
        exec(next(block for block in blocks('python') if 'convert_to_cgc' in block), names)
        gated = [name for name, module in names['model'].named_modules() if isinstance(module, CGConv2d)]
        assert gated and all(name.startswith(('layer3', 'layer4')) for name in gated)

    def test_plain_pytorch_is_equivalent(self):
        names = dict(torch=torch, F=F)
        exec(next(block for block in blocks('python') if block.startswith('def ')), names)
        generator = torch.Generator().manual_seed(0)
        shapes = dict(x=(3, 4, 9, 7), weight=(6, 4, 3, 3), gate_in=(3, 4, 3, 3), gate_out=(3, 6, 3, 3))
        tensors = {name: torch.randn(s, generator=generator, dtype=torch.float64) for name, s in shapes.items()}
        expected = names['context_gated_conv2d'](**tensors, stride=2, padding=1)
        torch.testing.assert_close(context_gated_conv(**tensors, stride=2, padding=1), expected)
