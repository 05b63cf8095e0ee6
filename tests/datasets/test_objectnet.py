"""ObjectNet from a folder that is made here: two objects that ImageNet has, one that it has not."""

import json
import shutil

import pytest
from helpers import ROOT
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from stand_ins import objectnet_files, write_folder

from mmcgc.datasets import ObjectNet

CLOCKS, BANANA = [409, 530], [954]  # of ImageNet's classes, in the order of their WordNet ids


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / 'objectnet', objectnet_files())


def test_labels_are_those_of_imagenet(root):
    dataset = ObjectNet(str(root))
    found = [(info['img_path'], info['gt_label']) for info in map(dataset.get_data_info, range(len(dataset)))]
    expected = {'alarm_clock': CLOCKS, 'banana': BANANA}
    assert found == [(f'{root}/images/{f}/{i}.png', label) for f, label in expected.items() for i in range(2)]


@pytest.mark.parametrize('twin', ['', 'cgc-'])
def test_the_config_reads_it_without_its_frame(root, twin):
    config = Config.fromfile(ROOT / f'configs/classification/imagenet/{twin}resnet50_8xb32_in1k-objectnet.py')
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        dataset = registry.build(dict(config.test_dataloader.dataset, data_root=str(root)))
    sample = dataset[0]
    assert sample['data_samples'].gt_label.tolist() == CLOCKS
    blue, *others = sample['inputs']  # BGR
    assert sample['inputs'].shape == (3, 224, 224)
    assert blue.min() == 255 and all(other.max() == 0 for other in others)
    assert config.val_dataloader.dataset.type == 'ImageNet' and config.val_evaluator.type == 'Accuracy'


def spoil(root, name: str, value: dict) -> None:
    (root / 'mappings' / name).write_text(json.dumps(value))


@pytest.mark.parametrize('damage, error, words', [
    (lambda root: shutil.rmtree(root / 'mappings'), FileNotFoundError, 'folder_to_objectnet_label.json is missing'),
    (lambda root: shutil.rmtree(root / 'images/banana'), FileNotFoundError, 'images/banana has no image'),
    (lambda root: spoil(root, 'objectnet_to_imagenet_1k.json', {'Banana': 'yellow thing'}), ValueError,
     "'Banana': 'yellow thing' is no class of ImageNet"),
    (lambda root: spoil(root, 'folder_to_objectnet_label.json', {}), ValueError, "'Alarm clock': .* has no folder"),
], ids=['mappings', 'folder', 'class', 'object'])  # fmt: skip
def test_what_is_missing_is_named(root, damage, error, words):
    damage(root)
    with pytest.raises(error, match=words):
        ObjectNet(str(root))
