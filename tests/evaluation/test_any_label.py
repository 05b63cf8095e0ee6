"""Accuracy with several right classes, against figures that are counted by hand."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from mmcgc.evaluation import AnyLabelAccuracy


def sample(best: list[int], labels: list[int]) -> dict:
    """A prediction that ranks the classes ``best`` first, in this order, and the others of ten behind them."""
    scores = torch.zeros(10)
    scores[best] = torch.linspace(0.9, 0.5, len(best))
    return DataSample().set_pred_score(scores).set_gt_label(labels).to_dict()


def test_any_of_the_labels_is_right():
    samples = [
        sample([3, 1, 2], [7, 3]),  # the second label is first
        sample([3, 1, 2], [1, 2]),  # both are behind another class, one of them within the first two
        sample([3, 1, 2], [8, 2]),  # third
        sample([3, 1, 2], [8]),  # behind
    ]
    evaluator = Evaluator(AnyLabelAccuracy(topk=(1, 2, 3)))
    evaluator.process(samples)
    result = evaluator.evaluate(len(samples))
    assert result == {f'accuracy/top{k}': pytest.approx(value) for k, value in {1: 25, 2: 50, 3: 75}.items()}
