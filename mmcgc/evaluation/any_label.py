"""Measure the accuracy if several classes are right for one sample."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.evaluation import Accuracy

from ..registry import METRICS


@METRICS.register_module()
class AnyLabelAccuracy(Accuracy):
    """mmpretrain's Accuracy, for samples whose ``gt_label`` (n,) lists every class that is right.

    A prediction counts if any of them is among the ``topk`` best of all classes.  Arguments and names of the results
    are those of Accuracy.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            scores, labels = sample['pred_score'].cpu(), sample['gt_label'].cpu()  # (C,), (n,)
            self.results.append(dict(pred_score=scores, gt_label=labels[scores[labels].argmax()].view(1)))
