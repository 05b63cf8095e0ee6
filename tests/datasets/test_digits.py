"""The digits: a fixed, disjoint, stratified split of real images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmcgc.datasets import Digits


@pytest.fixture(scope='module')
def splits():
    return Digits('train'), Digits('test', test_mode=True)


def test_the_splits_are_all_digits_once(splits):
    images = np.concatenate([[sample['img'] for sample in split] for split in splits])
    assert images.shape == (1797, 8, 8, 3) and images.dtype == np.uint8
    grey = np.rint(images[..., 0] * (16 / 255)).reshape(1797, 64)
    expected = load_digits().data
    order = np.lexsort(grey.T), np.lexsort(expected.T)
    np.testing.assert_array_equal(grey[order[0]], expected[order[1]])


def test_the_labels_belong_to_the_images(splits):
    digits = load_digits()
    known = {image.astype(int).tobytes(): label for image, label in zip(digits.images, digits.target, strict=True)}
    for split in splits:
        for sample in split:
            assert known[np.rint(sample['img'][..., 0] * (16 / 255)).astype(int).tobytes()] == sample['gt_label']


def test_the_test_split_holds_a_fifth_of_every_class(splits):
    train, test = (np.bincount(split.get_gt_labels()) for split in splits)
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.005)


def test_the_split_depends_on_no_seed(splits):
    np.random.seed(7)
    np.testing.assert_array_equal(Digits('test').get_gt_labels(), splits[1].get_gt_labels())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'val'"):
        Digits('val')
