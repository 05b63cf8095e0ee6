"""Plain weights enter gated networks without changing their function, and what does not fit is named."""

import importlib.util
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import ROOT, assert_close
from mmengine.config import Config
from resnets import SMALL, build, image_model, logits, randomise, small_model, video_model
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F

from mmcgc.checkpoints.convert import convert_checkpoint, convert_state, load_state

IMAGENET = ROOT / 'configs/classification/imagenet/cgc-resnet50_8xb32_in1k.py'


@pytest.fixture(scope='module')
def pictures():
    """Four crops of two photographs, normalised: (4, 3, 64, 64)."""
    crops = [
        image[y : y + 384, x : x + 384]
        for image, (y, x) in zip(load_sample_images().images * 2, [(0, 0), (0, 200), (40, 250), (20, 60)], strict=True)
    ]
    x = torch.stack([torch.from_numpy(crop.copy()) for crop in crops]).permute(0, 3, 1, 2).float()
    return F.interpolate((x - 120) / 60, size=64, mode='bilinear', antialias=True)


def trained_like(model, x):
    """Affine parameters and running statistics as a training on these pictures leaves them."""
    norms = [module for module in randomise(model).modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.9
    with torch.no_grad():
        logits(model.train(), x)
    return model


def plain_state():
    return convert_state(small_model().state_dict(), to='torchvision').state


def save(model, path):
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=list('abcdefg')))), path)
    return path


def both_modes(model, x):
    """Logits in eval mode, and with the statistics of the batch."""
    with torch.no_grad():
        return logits(model.eval(), x), logits(model.train(), x)


def test_preserve_function_on_real_pictures(pictures, tmp_path):
    config = tmp_path / 'seven_classes.py'
    config.write_text(f'_base_ = {str(IMAGENET)!r}\nmodel = dict(head=dict(num_classes=7, topk=(1, )))\n')
    cfg_options = {'model.backbone.conv_cfg.gate.init': 'preserve'}
    plain = trained_like(image_model(50), pictures)
    source, target = save(plain, tmp_path / 'plain.pth'), tmp_path / 'gated.pth'
    result = convert_checkpoint(source, target, config=config, preserve_function=True, cfg_options=cfg_options)
    assert result.unused == result.unfilled == []
    expected = both_modes(plain, pictures)

    gated = image_model(50, conv_cfg=dict(type='CGConv', gate=dict(init='preserve')))
    assert set(result.initialised) == set(gated.state_dict()) - set(plain.state_dict())
    gated.load_state_dict(load_state(str(target))[0])  # every key, and no change at loading
    for mode, ours, theirs in zip(('eval', 'train'), both_modes(gated, pictures), expected, strict=True):
        assert_close(ours, theirs, mode, tolerance=1e-4)

    gated.train()
    logits(gated, pictures).square().sum().backward()
    decoders = {name: p.grad for name, p in gated.named_parameters() if '.gate.decode' in name}
    assert len(decoders) == 2 * 17 and all(grad.abs().max() > 0 for grad in decoders.values())


@pytest.mark.parametrize(
    'gate',
    [
        {},
        dict(branches='in'),
        dict(branches='out'),
        dict(combine='product'),
        dict(combine='sigmoid_product'),
        dict(shared_norm=True),
        dict(shared_decoder=True),
        dict(separate_encoding=True),
        dict(pool='max', latent='full'),
    ],
    ids=lambda gate: '-'.join(f'{key}_{value}' for key, value in gate.items()) or 'default',
)
def test_preserve_function_with_every_gate(gate, pictures):
    plain = trained_like(small_model(), pictures)
    gated, model = (small_model(conv_cfg=dict(type='CGConv', gate=dict(gate, init='preserve'))) for _ in range(2))
    result = convert_state(plain.state_dict(), model=model, preserve_function=True)
    gated.load_state_dict(result.state)
    for ours, theirs in zip(both_modes(gated, pictures), both_modes(plain, pictures), strict=True):
        assert_close(ours, theirs, tolerance=1e-4)


def test_preserve_function_over_frames(pictures):
    """From a plain network of images to a gated TSM: the gates of every frame are 1, the shift is TSM's own."""
    plain = trained_like(image_model(18), pictures)
    shift = dict(pretrained2d=False, num_segments=4)
    model = video_model(18, 'ResNetTSM', **shift)
    model.load_state_dict(convert_state(plain.state_dict(), model=model).state)
    conv_cfg = dict(type='CGConv', num_segments=4, gate=dict(init='preserve'))
    gated = video_model(18, 'ResNetTSM', conv_cfg=conv_cfg, **shift)
    gated.load_state_dict(convert_state(plain.state_dict(), model=gated, preserve_function=True).state)
    for ours, theirs in zip(both_modes(gated, pictures), both_modes(model, pictures), strict=True):
        assert_close(ours, theirs, tolerance=1e-4)


@pytest.mark.parametrize('suffixes', ['.pth .pth', '.safetensors .pth', '.pth .safetensors'])
def test_files_of_both_kinds(suffixes, tmp_path):
    plain = build('mmpretrain', 18)
    source, target = (tmp_path / f'{name}{suffix}' for name, suffix in zip('ab', suffixes.split(), strict=True))
    if source.suffix == '.pth':
        save(plain, source)
    else:
        safetensors.torch.save_file(plain.state_dict(), source)
    convert_checkpoint(source, target, to='torchvision')
    loaded = (torch.load if target.suffix == '.pth' else safetensors.torch.load_file)(target)
    build('torchvision', 18).load_state_dict(loaded)
    assert torch.equal(loaded['layer1.0.conv1.weight'], plain.backbone.layer1[0].conv1.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]


def test_openmmlab_files_keep_the_classes(tmp_path):
    convert_checkpoint(save(build('mmpretrain', 18), tmp_path / 'a.pth'), tmp_path / 'new' / 'b.pth', to='mmaction2')
    checkpoint = torch.load(tmp_path / 'new' / 'b.pth')
    assert checkpoint['meta']['dataset_meta'] == dict(classes=list('abcdefg'))
    build('mmaction2', 18).load_state_dict(checkpoint['state_dict'])


def test_no_head_and_the_report(tmp_path):
    state = dict(build('torchvision', 18).state_dict(), extra=torch.zeros(2))
    torch.save(state, tmp_path / 'a.pth')
    result = convert_checkpoint(tmp_path / 'a.pth', tmp_path / 'b.pth', to='mmpretrain', head=False)
    assert result.unused == ['fc.weight', 'fc.bias', 'extra']
    assert result.unfilled is None
    result = convert_state(state, model=build('mmpretrain', 18), head=False)
    assert result.unfilled == ['head.fc.weight', 'head.fc.bias']


def without(state, word):
    return {key: value for key, value in state.items() if word not in key}


@pytest.fixture
def config(tmp_path):
    """A gated network of seven convolutions with a kernel above 1x1."""
    backbone = dict(type='mmcgc.CIFARResNet', depth=8, conv_cfg=dict(type='CGConv'))
    path = tmp_path / 'small.py'
    Config(
        dict(default_scope='mmpretrain', custom_imports=dict(imports=['mmcgc']), model=dict(SMALL, backbone=backbone))
    ).dump(path)
    return path


FAULTS = {
    'unknown layout': (
        lambda s: {'blocks.0.qkv.weight': torch.zeros(1)},
        dict(to='mmpretrain'),
        'unknown layout.*blocks.0',
    ),
    'empty': (lambda s: {}, dict(to='mmpretrain'), 'no weights'),
    'no tensor': (lambda s: dict(s, epoch=3), dict(to='mmpretrain'), 'no tensor under epoch'),
    'nested': (lambda s: dict(state_dict=[1]), dict(to='mmpretrain'), "'state_dict' is a list, expected a dict"),
    'twice the same': (
        lambda s: dict(s, **{'module.conv1.weight': s['conv1.weight']}),
        dict(to='mmpretrain'),
        'conv1.weight and module.conv1.weight',
    ),
    'only a head left out': (lambda s: {'fc.weight': s['fc.weight']}, dict(to='mmpretrain', head=False), 'nothing in'),
    'wrong shape': (
        lambda s: dict(s, **{'conv1.weight': torch.zeros(16, 3, 7, 7)}),
        dict(config=True),
        r'conv1.weight is \(16, 3, 7, 7\), but backbone.conv1.weight is \(16, 3, 3, 3\).*config',
    ),
    'other classes': (lambda s: dict(s, **{'fc.bias': torch.zeros(5)}), dict(config=True), 'fc.bias.*no-head'),
    'missing convolution': (
        lambda s: without(s, 'layer3.0.conv2'),
        dict(config=True, preserve_function=True),
        '6 of 7 gated.*layer3.0.conv2.weight',
    ),
    'gates there already': (
        lambda s: dict(s, **{'conv1.gd.weight': torch.zeros(9, 5)}),
        dict(config=True, preserve_function=True),
        'gates already.*conv1.gd.weight',
    ),
    'preserve without config': (dict, dict(to='mmpretrain', preserve_function=True), 'needs a config'),
    'target of another kind': (dict, dict(to='mmpretrain', target='b.ckpt'), "'.*b.ckpt'.*.safetensors"),
    'target is the source': (dict, dict(to='mmpretrain', target='a.pth'), 'it is .*a.pth, which is read'),
    'target is a folder': (dict, dict(to='mmpretrain', target='folder.pth'), 'it is a folder'),
    'neither layout nor config': (dict, {}, 'give either'),
    'layout nobody knows': (dict, dict(to='caffe'), "unknown layout 'caffe'; known are torchvision"),
}


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_named_and_lose_nothing(name, config, tmp_path):
    change, options, message = FAULTS[name]
    options = dict(options, **({'config': config} if 'config' in options else {}))
    source, target = tmp_path / 'a.pth', tmp_path / options.pop('target', 'b.pth')
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'b.pth').write_text('old')
    torch.save(change(plain_state()), source)
    before = source.read_bytes()
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(source, target, **options)
    assert source.read_bytes() == before
    assert (tmp_path / 'b.pth').read_text() == 'old'


def test_gates_that_do_not_start_as_the_plain_convolution_are_refused():
    model = small_model(conv_cfg=dict(type='CGConv'))
    with pytest.raises(ValueError, match=r"gate of backbone.conv1 does not .*init='preserve'"):
        convert_state(small_model().state_dict(), model=model, preserve_function=True)


def test_plain_model_has_nothing_to_preserve():
    with pytest.raises(ValueError, match='no gate'):
        convert_state(small_model().state_dict(), model=small_model(), preserve_function=True)


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_truncated_and_missing_sources(name, tmp_path):
    source = tmp_path / name
    with pytest.raises(FileNotFoundError, match=name):
        convert_checkpoint(source, tmp_path / 'b.pth', to='mmpretrain')
    whole = tmp_path / f'whole-{name}'
    state = plain_state()
    torch.save(state, whole) if name.endswith('.pth') else safetensors.torch.save_file(state, whole)
    source.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=f'{name}.* truncated'):
        convert_checkpoint(source, tmp_path / 'b.pth', to='mmpretrain')


def test_missing_config(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.py'):
        convert_checkpoint(save(small_model(), tmp_path / 'a.pth'), tmp_path / 'b.pth', config='nowhere.py')


def test_safetensors_is_optional(tmp_path, monkeypatch):
    source = save(small_model(), tmp_path / 'a.pth')
    for name in ('safetensors', 'safetensors.torch'):
        monkeypatch.setitem(sys.modules, name, None)
    convert_checkpoint(source, tmp_path / 'b.pth', to='mmaction2')
    with pytest.raises(ImportError, match=r"safetensors.*pip install 'mmcgc\[image\]'"):
        convert_checkpoint(source, tmp_path / 'b.safetensors', to='mmaction2')
    assert not list(tmp_path.glob('*.safetensors*'))


def test_interrupted_writing_keeps_the_old_file(tmp_path, monkeypatch):
    source, target = save(small_model(), tmp_path / 'a.pth'), tmp_path / 'b.pth'
    target.write_text('old')

    def full_disk(_, path):
        Path(path).write_text('half')
        raise OSError('no space left')

    monkeypatch.setattr(torch, 'save', full_disk)
    with pytest.raises(OSError, match='no space'):
        convert_checkpoint(source, target, to='mmaction2')
    assert target.read_text() == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth', 'b.pth']


class Call:
    def __reduce__(self):
        return print, ('ran',)


def test_tool(tmp_path, monkeypatch, capsys, config):
    spec = importlib.util.spec_from_file_location('convert_tool', ROOT / 'tools/convert_checkpoint.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    torch.save(dict(plain_state(), extra=torch.zeros(2)), source)
    out = run(
        source,
        target,
        '--config',
        config,
        '--preserve-function',
        '--no-head',
        '--cfg-options',
        'model.backbone.conv_cfg.gate.init=preserve',
    )
    assert out.splitlines()[1:] == [
        '3 keys of the source went nowhere:',
        '  fc.weight',
        '  fc.bias',
        '  extra',
        '2 keys of the model got no value:',
        '  head.fc.weight',
        '  head.fc.bias',
    ]
    assert 'with --config only' in run(source, target, '--to', 'timm')

    torch.save(dict(weight=Call()), source)
    with pytest.raises(SystemExit, match='error: .*print'):
        run(source, target, '--to', 'timm')
    assert 'ran' not in capsys.readouterr().out
