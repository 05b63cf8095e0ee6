"""The device that a tool chooses, and its name."""

import pytest
import torch

from mmcgc.apis.device import device_name, usable_device


def test_a_device_that_is_not_here_is_refused_by_name():
    with pytest.raises(ValueError, match="'cuda:99' cannot be used here.*take cpu"):
        usable_device('cuda:99')


def test_a_processor_has_its_name():
    assert usable_device('cpu') == 'cpu'
    assert device_name('cpu') not in ('', 'cpu')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_an_accelerator_has_its_name():
    assert device_name('cuda') == torch.cuda.get_device_name(0)
