"""Gates that others write: trained, watched, counted, drawn, saved and timed as ours are."""

import json
from collections import OrderedDict

import pytest
import torch
from helpers import assert_close
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmcgc import CGConv2d, CGConv3d, ContextGate
from mmcgc.analysis.counting.get_complexity import analyse
from mmcgc.analysis.network import build_network
from mmcgc.analysis.pictures.analyze_gates import analyze_gates
from mmcgc.analysis.pictures.show_gates import show_gates
from mmcgc.analysis.speed.benchmark import benchmark
from mmcgc.checkpoints.convert import convert_state
from mmcgc.layers import gated_layers
from mmcgc.ops import context_gated_conv
from mmcgc.registry import MODELS


class MeanGate(nn.Module):
    """A plain module, with nothing but channels and kernel, and a term for the inputs alone."""

    def __init__(self, inputs, outputs, kernel_size):
        super().__init__()
        self.kernel, self.linear = tuple(kernel_size), nn.Linear(inputs, inputs)

    def forward(self, x):
        means = self.linear(x.flatten(2).mean(2))  # (B, C)
        return means[(...,) + (None,) * len(self.kernel)].expand(*means.shape, *self.kernel), None


class ScaledGate(ContextGate):
    """One of ours with an option, a product of sigmoids and a gain of its own."""

    gain = 3.0

    def __init__(self, *args, scale: float = 2.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale, self.gain, self.combine = scale, type(self).gain, 'sigmoid_product'

    def forward(self, x):
        return tuple(self.scale * term for term in super().forward(x))


@MODELS.register_module()
class ForeignMeanConv2d(CGConv2d):
    gate_type = MeanGate


@MODELS.register_module()
class ForeignScaledConv2d(CGConv2d):
    gate_type = ScaledGate


LAYERS = {'module': ForeignMeanConv2d, 'subclass': ForeignScaledConv2d}
GAINS = {ForeignMeanConv2d: 1, ForeignScaledConv2d: 3}


@pytest.fixture(scope='module', params=LAYERS.values(), ids=LAYERS)
def trained(request, tiny, tmp_path_factory):
    """A layer, a config with it, and the run of a short training with the gates' statistics."""
    root, text = tmp_path_factory.mktemp('foreign'), tiny.config.read_text()
    config = root / 'foreign.py'
    config.write_text(text.replace("type='CGConv'", f"type='mmcgc.{request.param.__name__}'"))
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(work_dir=str(root / 'run'), train_cfg=dict(max_epochs=1), experiment_name=root.name,
                             custom_hooks=[dict(type='mmcgc.GateStatisticsHook', interval=2)]))  # fmt: skip
    before = OrderedDict(DefaultScope._instance_dict)
    runner = Runner.from_cfg(cfg)
    runner.train()
    DefaultScope._instance_dict = before  # the scope of this runner is not that of later tests
    return request.param, config, root / 'run', runner


def test_training_moves_the_gates_and_logs_them(trained):
    layer, config, run, runner = trained
    layers = gated_layers(runner.model)
    assert len(layers) == 7 and all(type(module) is layer for module in layers.values())
    grouped = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']}
    assert grouped == {id(p) for p in runner.model.parameters()}
    moved = runner.optim_wrapper.optimizer.state
    assert all(moved[p]['momentum_buffer'].any() for module in layers.values() for p in module.gate.parameters())
    (scalars,) = run.glob('*/vis_data/scalars.json')
    looks = [r for line in scalars.read_text().splitlines() if 'gate/backbone.conv1/mean' in (r := json.loads(line))]
    assert looks and all(0 < r['gate/backbone.conv1/mean'] < GAINS[layer] for r in looks)


def test_checkpoints_come_back(trained):
    layer, config, run, runner = trained
    state = torch.load(run / 'epoch_1.pth', weights_only=False)['state_dict']
    model = build_network(Config.fromfile(config))
    model.load_state_dict(state)
    x = torch.randn(2, 3, 8, 8)
    assert_close(model(x), runner.model.cpu().eval()(x), tolerance=1e-6)
    assert len(convert_state(state, model=model).state) == len(state)
    with pytest.raises(ValueError, match='does not start as the plain convolution'):
        plain = {key: value for key, value in state.items() if '.gate.' not in key}
        convert_state(plain, model=model, preserve_function=True)


def test_pictures_and_kernels_are_drawn(trained, tmp_path):
    _, config, run, _ = trained
    weights = str(run / 'epoch_1.pth')
    assert 'for 2 pictures' in show_gates(str(config), weights, str(tmp_path / 'gates.png'), samples=2, device='cpu')
    said = analyze_gates(str(config), weights, str(tmp_path / 'classes.png'), device='cpu')
    assert 'over 20 samples of 4 classes' in said and (tmp_path / 'classes.png').stat().st_size
    pytest.importorskip('pytorch_grad_cam')
    from mmcgc.analysis.pictures.grad_cam import look, pick_convolution
    from mmcgc.analysis.pictures.samples import dataset_samples
    from mmcgc.analysis.trained import load_trained

    network = load_trained(str(config), weights, 'cpu')
    _, conv = pick_convolution(network.model)
    maps = look(network, dataset_samples(network, 1)[0], conv).maps
    assert {'before', 'after'} <= set(maps)


def test_the_benchmark_times_them(trained):
    _, config, *_ = trained
    rows = benchmark(str(config), batch=2, size=(8,), repeats=1, arms=('plain', 'mmcgc', 'unfold'), passes=('step',))
    assert [row['arm'] for row in rows] == ['plain', 'mmcgc', 'unfold'] and all(row['ms'] > 0 for row in rows)


def test_operations_and_parameters_are_counted():
    found = analyse(nn.Sequential(ForeignMeanConv2d(4, 6, 3, bias=False)).eval(), torch.zeros(2, 4, 7, 5))
    assert found.gate_parameters == 4 * 4 + 4 and found.parameters == 20 + 6 * 4 * 9
    assert found.gates['other gates'] == 2 * 4 * 4 and found.gates['gating the kernel'] == 2 * 6 * 4 * 9
    assert found.multiply_adds == 2 * 4 * 4 + 2 * 6 * 4 * 9 + 2 * 6 * 5 * 3 * 4 * 9


@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_the_layer_computes_the_formula(layer):
    conv, x = layer(4, 6, 3, padding=1).double(), torch.randn(2, 4, 7, 5, dtype=torch.float64)
    weight = conv.weight * GAINS[layer]
    expected = context_gated_conv(x, weight, *conv.gate(x), conv.bias, padding=1, combine=conv.gate_combine,
                                  backend='reference')  # fmt: skip
    assert_close(conv(x), expected)
    assert conv(x[:0]).shape == (0, 6, 7, 5)


def test_options_are_those_of_the_gate_itself():
    assert ForeignScaledConv2d(4, 6, 3, gate=dict(scale=5.0, pool='max')).gate.scale == 5
    with pytest.raises(ValueError, match=r"unknown gate options \['wide'\]; known are .*'pool'.*'scale'"):
        ForeignScaledConv2d(4, 6, 3, gate=dict(wide=1))
    with pytest.raises(ValueError, match=r"unknown gate options \['pool'\]; known are \[\]"):
        ForeignMeanConv2d(4, 6, 3, gate=dict(pool='max'))

    class Free(MeanGate):
        def __init__(self, *args, **options):
            super().__init__(*args[:3])
            self.options = options

    class Any(nn.Module):
        def __init__(self, inputs, outputs, kernel_size, **options):
            super().__init__()
            self.options = options

    layer = type('AnyConv', (CGConv2d,), dict(gate_type=Any))
    assert layer(4, 6, 3, gate=dict(wide=1)).gate.options == dict(wide=1)
    with pytest.raises(ValueError, match='unknown gate options'):
        type('FreeConv', (CGConv2d,), dict(gate_type=Free))(4, 6, 3, gate=dict(wide=1))


def test_a_gate_that_gives_no_pair_is_named():
    class Lone(MeanGate):
        def forward(self, x):
            return super().forward(x)[0]

    layer = type('LoneConv', (CGConv2d,), dict(gate_type=Lone))(4, 6, 3)
    with pytest.raises(TypeError, match=r'Lone must give two terms.*got Tensor'):
        layer(torch.randn(2, 4, 8, 8))


def test_frames_reach_a_gate_that_takes_them():
    class Frames(MeanGate):
        def __init__(self, inputs, outputs, kernel_size, num_frames):
            super().__init__(inputs, outputs, kernel_size)
            self.num_frames = num_frames

    layer = type('FramesConv', (CGConv3d,), dict(gate_type=Frames))(4, 6, (1, 3, 3), num_frames=5)
    assert layer.gate.num_frames == 5 and layer.gated_kernel == layer.gate.kernel == (3, 3)
    assert layer(torch.randn(2, 4, 5, 8, 8)).shape == (2, 6, 5, 6, 6)
