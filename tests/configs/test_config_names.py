"""configs/README.md explains the names of all leaves."""

import re

import pytest
from helpers import ROOT

LEAVES = sorted(p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)
OVER_OTHERS = [leaf for leaf in LEAVES if leaf.parent.name in ('detection', 'segmentation')]
NAME = re.compile(
    r'(?P<network>[a-z0-9]+(-[a-z0-9]+)*)'
    r'(_(?P<backbone>(imagenet-pretrained-)?r\d+(-quarter)?))?'
    r'_(?P<batch>\d+x[bt]\d+k?)(-(?P<clips>\d+x\d+x\d+))?(-(?P<length>\d+(e|k)))?'
    r'_(?P<data>[a-z0-9]+(-[a-z0-9]+)*)'
)


@pytest.mark.parametrize('leaf', [leaf for leaf in LEAVES if leaf not in OVER_OTHERS], ids=lambda path: path.stem)
def test_a_name_follows_the_grammar(leaf):
    assert NAME.fullmatch(leaf.stem)


@pytest.mark.parametrize('leaf', OVER_OTHERS, ids=lambda path: path.stem)
def test_a_leaf_over_another_library_has_the_name_of_its_recipe(leaf):
    recipe = re.match(r"_base_ = 'mm(det|seg)::\w+/(.+)\.py'\n", leaf.read_text(encoding='utf-8'))
    assert leaf.stem == f'cgc-{recipe[2]}'
    assert "conv_cfg=dict(type='CGConv'" in leaf.read_text(encoding='utf-8')


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda path: path.stem)
def test_its_folder_is_in_the_index(leaf):
    page = (ROOT / 'configs/README.md').read_text(encoding='utf-8')
    assert f']({leaf.parent.relative_to(ROOT / "configs").as_posix()})' in page


def test_another_order_is_noticed():
    assert NAME.fullmatch('resnet50_in1k_8xb32') is None and NAME.fullmatch('ResNet50_8xb32_in1k') is None
