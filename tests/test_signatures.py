"""What ``help`` shows of a constructor is what the constructor takes."""

import inspect

import pytest

import mmcgc.datasets as datasets
import mmcgc.engine as engine
import mmcgc.models as models
from mmcgc.datasets.translation import ParallelText
from mmcgc.models.translation.preprocessor import TextPreprocessor
from mmcgc.signatures import shows_arguments

SHOWN = [
    models.CIFARResNet, models.PluginResNet, models.ResNetP3DA, models.ShiftedResNet, TextPreprocessor,
    datasets.CIFAR10, datasets.Digits, datasets.Imagenette, datasets.ObjectNet, datasets.RawframeDataset,
    datasets.VideoDataset, ParallelText, engine.InverseSqrtLR, engine.SafeCheckpointHook,
]  # fmt: skip


class Root:
    def __init__(self, a, b=1, *, c=2):
        self.given = a, b, c


class Middle(Root):
    def __init__(self, d, b=3, **kwargs):
        super().__init__(b=b, **kwargs)


class Last:
    def __init__(self, *args, e=4, **kwargs):
        super().__init__(*args, **kwargs)


def test_own_arguments_come_first_and_those_of_the_bases_follow():
    @shows_arguments('c')
    class Shown(Last, Middle):
        pass

    assert str(inspect.signature(Shown)) == '(d, b=3, *, e=4, a)'
    assert Shown(0, 5, a=6).given == (6, 5, 2)
    assert str(inspect.signature(Last)) == '(*args, e=4, **kwargs)'  # the class that it shares is as it was


def test_a_subclass_shows_its_own():
    @shows_arguments()
    class Shown(Middle):
        pass

    class Further(Shown):
        def __init__(self, f):
            super().__init__(0, a=f)

    assert str(inspect.signature(Further)) == '(f)'


@pytest.mark.parametrize('cls', SHOWN, ids=lambda c: c.__name__)
def test_no_argument_is_hidden(cls):
    kinds = {p.kind for p in inspect.signature(cls).parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def test_a_network_shows_those_of_the_library():
    own = inspect.signature(models.ShiftedResNet).parameters
    plain = inspect.signature(models.ShiftedResNet.__base__).parameters
    assert list(own) == ['depth', 'num_segments', 'shift_div', *list(plain)[1:]]
    assert {own[name].default for name in ('in_channels', 'deep_stem')} == {3, False}


@pytest.mark.parametrize('cls, name, value', [
    (models.CIFARResNet, 'num_stages', 3), (models.ResNetP3DA, 'with_pool2', False),
    (datasets.CIFAR10, 'ann_file', ''), (datasets.CIFAR10, 'download', False), (datasets.Digits, 'ann_file', ''),
    (engine.InverseSqrtLR, 'param_name', 'lr'),
], ids=lambda value: getattr(value, '__name__', str(value)))  # fmt: skip
def test_what_a_class_fixes_is_neither_shown_nor_taken(cls, name, value):
    needed = {models.CIFARResNet: dict(depth=20), engine.InverseSqrtLR: dict(optimizer=None, warmup=1, by_epoch=False)}
    assert name not in inspect.signature(cls).parameters
    with pytest.raises(TypeError, match=f"'{name}'"):
        cls(**needed.get(cls, {}), **{name: value})
