"""At least 2,000 odd inputs: each gives what the formula gives, or an error that names what was wrong."""

import io
import random
import string

import numpy as np
import pytest
import torch
from helpers import assert_close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image
from torch import nn

from mmcgc import CGConv1d, CGConv2d, CGConv3d
from mmcgc.checkpoints.convert import load_state
from mmcgc.datasets.cifar_batches import dump_batch, load_batch
from mmcgc.layers.gate_options import CHOICES
from mmcgc.ops import COMBINES, context_gated_conv

LAYERS = {1: CGConv1d, 2: CGConv2d, 3: CGConv3d}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
PLAIN = (ValueError, TypeError)  # what a mistake may raise, with a message that says more than its type


def many(cases: int):
    return settings(
        max_examples=cases, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def clear(error: Exception) -> bool:
    """Whether an error says more than its type."""
    return len(str(error).split()) >= 4


@st.composite
def convolutions(draw):
    """Arguments of a convolution and of its input; about a third do not go together."""
    nd = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels = groups * draw(st.integers(1, 4)) + draw(st.sampled_from([0] * 9 + [1]))
    out = groups * draw(st.integers(1, 4))
    axis = st.integers(1, 3 if nd == 3 else 5)
    kernel = tuple(draw(axis) for _ in range(nd))
    size = tuple(draw(st.integers(1, 5 if nd == 3 else 9)) for _ in range(nd))
    padding = draw(
        st.one_of(st.integers(0, 2), st.sampled_from(['same', 'valid', 'full']), st.tuples(*[st.integers(0, 2)] * nd))
    )
    return dict(
        nd=nd,
        batch=draw(st.integers(0, 3)),
        channels=channels,
        out=out,
        kernel=kernel,
        size=size,
        stride=draw(st.integers(1, 3)),
        padding=padding,
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        dtype=draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16])),
        last=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )


def tensor(case, *size):
    make = torch.Generator().manual_seed(case['seed'])
    made = torch.randn(size, generator=make, dtype=torch.float64).to(case['dtype'])
    layout = FORMATS.get(made.dim() - 2)
    return made.contiguous(memory_format=layout) if case['last'] and layout else made


class TestOperator:
    @many(600)
    @given(case=convolutions(), combine=st.sampled_from([*COMBINES, 'sums']), terms=st.sampled_from('iob'))
    def test_equals_the_formula_or_says_why_not(self, case, combine, terms):
        b, c, o, kernel = case['batch'], case['channels'], case['out'], case['kernel']
        x, weight = tensor(case, b, c, *case['size']), tensor(case, o, max(1, c // case['groups']), *kernel)
        gates = (
            tensor(case, b, c, *kernel) if terms != 'o' else None,
            tensor(case, b, o, *kernel) if terms != 'i' else None,
        )
        arguments = (x, weight, *gates, None, case['stride'], case['padding'], case['dilation'], case['groups'])
        try:
            y = context_gated_conv(*arguments, combine=combine)
        except PLAIN as error:
            assert clear(error), repr(error)
            return
        wide = [t.double() if torch.is_tensor(t) else t for t in arguments]
        expected = context_gated_conv(*wide, combine=combine, backend='reference')
        # bfloat16: products of rounded numbers, summed up
        assert_close(y, expected, tolerance=5e-2 if case['dtype'] == torch.bfloat16 else None)


@st.composite
def gate_options(draw):
    options = {
        name: draw(st.sampled_from([*choices, 'none']))
        for name, choices in CHOICES.items()
        if draw(st.integers(0, 4)) == 0
    }
    for name in ('shared_norm', 'separate_encoding', 'shared_decoder'):
        if draw(st.integers(0, 4)) == 0:
            options[name] = True
    for name, values in dict(
        channel_groups=[1, 2, 3, 0, 1.5, '2'], pool_scale=[1, 2, -1], latent=[1, 3, 0, 'third', None]
    ).items():
        if draw(st.integers(0, 4)) == 0:
            options[name] = draw(st.sampled_from(values))
    if draw(st.integers(0, 19)) == 0:
        options['chanel_groups'] = 1
    return options


class TestLayers:
    @many(500)
    @given(case=convolutions(), gate=gate_options(), train=st.booleans(), bias=st.booleans())
    def test_build_run_and_learn_or_say_why_not(self, case, gate, train, bias):
        layer_type = LAYERS[case['nd']]
        torch.manual_seed(case['seed'])
        try:
            layer = layer_type(
                case['channels'],
                case['out'],
                case['kernel'],
                case['stride'],
                case['padding'],
                case['dilation'],
                case['groups'],
                bias,
                gate=gate,
            )
            layer = layer.to(case['dtype']).train(train)
            x = tensor(case, case['batch'], case['channels'], *case['size']).requires_grad_()
            y = layer(x)
        except PLAIN as error:
            assert clear(error), repr(error)
            return
        except RuntimeError as error:  # PyTorch's own words, where the plain layer has none better
            if 'not implemented for' in str(error):
                return
            plain = layer_type.__bases__[1](
                case['channels'],
                case['out'],
                case['kernel'],
                case['stride'],
                case['padding'],
                case['dilation'],
                case['groups'],
                bias,
            ).to(case['dtype'])
            with pytest.raises(RuntimeError):
                plain(x)
            return
        y.float().square().sum().backward()
        assert y.isfinite().all() and y.shape[:2] == (case['batch'], case['out'])
        gradients = [x.grad, *(p.grad for p in layer.parameters())]
        assert all(g is not None and g.isfinite().all() for g in gradients)

    @many(200)
    @given(case=convolutions(), batches=st.integers(1, 3))
    def test_samples_do_not_touch_each_other(self, case, batches):
        """In eval mode a sample's result is the same in any company."""
        case = dict(
            case,
            batch=batches,
            padding=1 if isinstance(case['padding'], str) else case['padding'],
            dtype=torch.float64,
            channels=case['groups'] * max(1, case['channels'] // case['groups']),
        )
        torch.manual_seed(case['seed'])
        layer = (
            LAYERS[case['nd']](
                case['channels'], case['out'], case['kernel'], case['stride'], case['padding'], 1, case['groups']
            )
            .double()
            .eval()
        )
        x = tensor(case, batches, case['channels'], *(size + 5 for size in case['size']))
        alone = torch.cat([layer(sample) for sample in x.split(1)])
        assert_close(layer(x), alone)


def mutate(content: bytes, seed: int) -> bytes:
    """Cut, flip, splice or repeat some bytes."""
    generator = random.Random(seed)
    data = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data)) if data else 0
        kind = generator.randrange(4)
        if kind == 0:
            del data[place:]
        elif kind == 1 and data:
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 2:
            data[place:place] = generator.randbytes(generator.randint(1, 8))
        else:
            data[place : place + generator.randint(1, 64)] = b''
    return bytes(data)


def checkpoint(kind: str) -> bytes:
    content = io.BytesIO()
    state = dict(meta=dict(epoch=1), state_dict=nn.Conv2d(2, 3, 3).state_dict())
    if kind == 'safetensors':
        import safetensors.torch

        return safetensors.torch.save(state['state_dict'])
    torch.save(state, content, _use_new_zipfile_serialization=kind == 'zip')
    return content.getvalue()


class TestFiles:
    @pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
    def test_damaged_checkpoints_load_whole_or_are_named(self, tmp_path, kind):
        whole, refused = checkpoint(kind), 0
        path = tmp_path / ('fuzz.safetensors' if kind == 'safetensors' else 'fuzz.pth')
        for seed in range(150):
            path.write_bytes(mutate(whole, seed))
            try:
                state = (
                    load_state(str(path))[0]
                    if kind == 'safetensors'
                    else dict(CheckpointLoader.load_checkpoint(str(path)))
                )
            except Exception as error:
                assert path.name in str(error) or isinstance(error, MemoryError), repr(error)
                refused += 1
            else:
                assert isinstance(state, dict)
        assert refused > 75

    def test_damaged_cifar_batches_load_whole_or_are_named(self):
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        whole, refused = dump_batch(images, [3, 8]), 0
        for seed in range(300):
            try:
                pictures, labels = load_batch(mutate(whole, seed), 'data_batch_1')
            except ValueError as error:
                assert 'data_batch_1 is no CIFAR-10 batch' in str(error)
                refused += 1
            else:
                assert pictures.shape == (len(labels), 32, 32, 3) and pictures.dtype == np.uint8
        assert refused > 100

    @pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
    def test_damaged_images_decode_or_raise(self, tmp_path, kind):
        """By the reader of the configs' pipelines: an array of the right kind, or an error."""
        from mmcv.transforms import LoadImageFromFile

        content = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(content, kind)
        path, load = tmp_path / f'fuzz.{kind}', LoadImageFromFile()
        for seed in range(100):
            path.write_bytes(mutate(content.getvalue(), seed))
            try:
                result = load(dict(img_path=str(path)))
            except Exception:
                continue
            assert result['img'].dtype == np.uint8 and result['img'].ndim == 3


WORDS = ['CGConv', 'CGConv2d', 'mmcgc.CGConv', 'cgconv', 'Conv2d', 'CGConv 2d']


@st.composite
def conv_cfgs(draw):
    cfg = dict(type=draw(st.sampled_from(WORDS)))
    if draw(st.booleans()):
        cfg['gate'] = draw(st.one_of(gate_options(), st.sampled_from(['max', 3, []])))
    if draw(st.integers(0, 3)) == 0:
        cfg['num_segments'] = draw(st.sampled_from([1, 2, 4, 0, -1, 'two']))
    if draw(st.integers(0, 5)) == 0:
        cfg[draw(st.text(string.ascii_lowercase, min_size=1, max_size=6))] = 1
    return cfg


class TestConfigs:
    @many(300)
    @given(cfg=conv_cfgs(), channels=st.sampled_from([1, 3, 8, 16, 24, 48]), out=st.sampled_from([1, 4, 16, 20]))
    def test_layers_build_or_say_why_not(self, cfg, channels, out):
        from mmcv.cnn import build_conv_layer

        try:
            with DefaultScope.overwrite_default_scope('mmcgc'):
                layer = build_conv_layer(dict(cfg), channels, out, 3, padding=1)
        except (*PLAIN, KeyError) as error:  # KeyError: mmcv's word for an unknown type
            assert clear(error), repr(error)
            return
        frames = cfg.get('num_segments') or 1
        assert layer(torch.randn(2 * frames, channels, 5, 5)).shape == (2 * frames, out, 5, 5)

    @many(100)
    @given(text=st.text(string.printable, max_size=60))
    def test_a_config_of_any_text_is_a_config_or_an_error(self, text, tmp_path_factory):
        """A config is Python and does run, so none of these texts may call anything."""
        path = tmp_path_factory.mktemp('fuzz') / 'config.py'
        comment = ' '.join(text.split())
        path.write_text(f'value = {text!r}  # {comment}\n', encoding='utf-8')
        assert Config.fromfile(path).value == text
