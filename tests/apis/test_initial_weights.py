"""Networks of one comparison start from the same weights where they have them in common."""

import pytest
import torch
from helpers import ROOT

from mmcgc.apis.initial_weights import write_initial_weights
from mmcgc.apis.launch import load_config

PAIRS = {
    'images': [f'classification/cifar10/{name}resnet20_1xb128-20e_cifar10' for name in ('', 'cgc-')],
    'videos': [f'action/camera_motion/{name}_r14-quarter_1xb32-1x1x4-12e_camera-motion-64px-rgb'
               for name in ('tsn', 'tsn-cgc', 'tsm', 'tsm-cgc')],
    'sentences': [f'translation/multi30k/{name}_1xt4k-3k_multi30k-de-en'
                  for name in ('lightconv', 'lightconv-dynamic-encoder', 'cgc-lightconv')],
}  # fmt: skip


def configs(names):
    loaded = {name.split('/')[-1]: load_config(str(ROOT / 'configs' / f'{name}.py'), None, None, 'none')
              for name in names}  # fmt: skip
    for config in loaded.values():
        if 'source_vocabulary' in config.model:  # sizes instead of files that come with the data
            config.model.update(source_vocabulary=50, target_vocabulary=60)
    return loaded


def states(files):
    return [torch.load(path, weights_only=True)['state_dict'] for path in files.values()]


@pytest.mark.parametrize('names', PAIRS.values(), ids=PAIRS)
def test_what_two_networks_have_in_common_is_the_same(names, tmp_path):
    drawn = states(write_initial_weights(configs(names), 0, tmp_path))
    for i, first in enumerate(drawn):
        for second in drawn[i + 1 :]:
            common = [key for key in first.keys() & second.keys() if first[key].shape == second[key].shape]
            assert len(common) >= 50
            assert [key for key in common if not torch.equal(first[key], second[key])] == []
    assert all(weight.std() > 0 for key, weight in drawn[-1].items() if 'conv' in key and weight.dim() == 4)


def test_another_seed_and_another_network_draw_anew(tmp_path):
    loaded = configs(PAIRS['images'])
    (plain, gated), (other, _) = (states(write_initial_weights(loaded, seed, tmp_path / str(seed))) for seed in (0, 1))
    weights = [key for key, value in plain.items() if value.dim() == 4]
    assert not any(torch.equal(plain[key], other[key]) for key in weights)
    assert gated.keys() > plain.keys() and all('.gate.' in key for key in gated.keys() - plain.keys())


def test_files_that_are_there_stay_and_are_shared_with_later_networks(tmp_path):
    loaded = configs(PAIRS['images'])
    first = next(iter(loaded))
    path = write_initial_weights({first: loaded[first]}, 0, tmp_path)[first]
    changed = {key: value + 1 for key, value in torch.load(path, weights_only=True)['state_dict'].items()}
    torch.save(dict(state_dict=changed), path)
    for state in states(write_initial_weights(loaded, 0, tmp_path)):
        assert all(torch.equal(state[key], value) for key, value in changed.items())
