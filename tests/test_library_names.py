"""The zoo under its names in MMEngine, mmpretrain and mmaction2."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine import Config, hub
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer, get_model, list_models
from mmpretrain.apis.model import ModelHub
from test_zoo import publish  # noqa: F401  a fixture

from mmcgc import CGConv2d, zoo
from mmcgc.library_names import register

IMAGES = 'cgc-resnet20_1xb32-10e_digits'
VIDEOS = 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits'
TASKS = {name: model['Task'] for name, model in zoo.models().items()}


def is_gated(model) -> bool:
    return any(isinstance(module, CGConv2d) for module in model.modules())


@pytest.fixture(autouse=True)
def no_scope(monkeypatch):
    """Each test starts as a fresh process does, without the scope that a runner of another test has set."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture
def with_weights(publish, monkeypatch):  # noqa: F811
    """Weights shipped for the two models of the quick start; gives their states."""
    list_models()
    states = {}
    for name in (IMAGES, VIDEOS):
        model = hub.get_model(f'mmcgc::quickstart/{name}.py')
        states[name] = {key: value.clone() for key, value in model.state_dict().items()}
        monkeypatch.setitem(zoo.models()[name], 'Weights', publish(model, f'{name}.safetensors'))
    monkeypatch.delitem(ModelHub._models_dict, IMAGES)
    return states


def assert_has(model, state):
    torch.testing.assert_close(dict(model.state_dict()), state)


class TestMMPretrain:
    def test_lists_all_image_models_and_no_others(self):
        images = {name.lower() for name, task in TASKS.items() if task == 'Image Classification'}
        assert images <= set(list_models()) and images <= set(list_models(task='Image Classification'))
        assert not set(list_models()) & {name.lower() for name, task in TASKS.items() if task == 'Machine Translation'}

    def test_a_common_name_stays_that_of_mmpretrain(self):
        assert 'mmpretrain' in ModelHub.get('resnet50_8xb32_in1k').filepath
        assert is_gated(get_model('cgc-resnet50_8xb32_in1k'))

    def test_pretrained(self, with_weights):
        assert_has(get_model(IMAGES, pretrained=True), with_weights[IMAGES])

    def test_infers_by_name(self, with_weights):
        inferencer = ImageClassificationInferencer(IMAGES, device='cpu')
        assert_has(inferencer.model, with_weights[IMAGES])
        (result,) = inferencer(np.zeros((8, 8, 3), np.uint8))
        assert result['pred_class'] in tuple('0123456789')


class TestMMAction:
    def test_infers_by_name(self, with_weights):
        apis = pytest.importorskip('mmaction.apis')
        inferencer = apis.MMAction2Inferencer(VIDEOS, device='cpu', input_format='array')
        assert_has(inferencer.actionrecog_inferencer.model, with_weights[VIDEOS])
        scores = inferencer(np.zeros((8, 32, 32, 3), np.uint8))['predictions'][0]['rec_scores'][0]
        assert len(scores) == 8 and sum(scores) == pytest.approx(1)

    def test_lists_video_models_beside_its_own(self):
        pytest.importorskip('mmaction')
        names = set(BaseInferencer.list_models('mmaction'))
        assert {name for name in names if name in TASKS} == {
            name for name, task in TASKS.items() if task == 'Action Recognition'
        }
        assert len(names) > len(TASKS)


class TestMMEngine:
    def test_lists_the_zoo(self):
        assert set(BaseInferencer.list_models('mmcgc')) == set(TASKS)

    @pytest.mark.parametrize('name', [IMAGES, VIDEOS])
    def test_builds_from_the_hub(self, with_weights, name):
        model = hub.get_model(f'mmcgc::quickstart/{name}.py', pretrained=True)
        assert is_gated(model)
        assert_has(model, with_weights[name])

    def test_a_config_without_weights_says_so(self):
        with pytest.raises(ValueError, match='no weights ship with mmcgc::classification'):
            hub.get_config('mmcgc::classification/imagenet/cgc-resnet50_8xb32_in1k.py', pretrained=True)

    def test_other_packages_are_found_as_before(self):
        assert hub.get_config('mmpretrain::resnet/resnet50_8xb32_in1k.py').model.backbone.depth == 50

    @pytest.mark.parametrize('name', [IMAGES, VIDEOS])
    def test_is_a_base_of_other_configs(self, tmp_path, name):
        own = tmp_path / 'own.py'
        own.write_text(f"_base_ = 'mmcgc::quickstart/{name}.py'\nrandomness = dict(seed=5)\n", encoding='utf-8')
        cfg = Config.fromfile(own)
        expected = Config.fromfile(zoo.models()[name]['Config'])
        assert cfg.model == expected.model and cfg.randomness.seed == 5


def test_registering_twice_changes_nothing():
    before = Config._get_cfg_path, hub.get_config, BaseInferencer._get_models_from_metafile
    register()
    assert before == (Config._get_cfg_path, hub.get_config, BaseInferencer._get_models_from_metafile)


LATE = """
import mmengine.hub, mmengine.infer, mmpretrain
import mmcgc
print(mmengine.hub.get_config('mmcgc::quickstart/{name}.py').model.backbone.conv_cfg.type)
print('{name}' in mmpretrain.list_models(), '{name}' in mmengine.infer.BaseInferencer.list_models('mmcgc'))
"""


def test_libraries_that_were_imported_first():
    code = LATE.format(name=IMAGES)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'CGConv\n' in done.stdout and done.stdout.endswith('True True\n'), done.stderr
