"""Check that validation and testing count every sample once, on any number of ranks, and that every score is finite."""

from __future__ import annotations

from itertools import chain, islice

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from .loss_guard import all_finite


class EachSampleOnceHook(Hook):
    """Check that validation and testing score every sample once, that labels exist, and that scores are finite.

    MMEngine takes the results of the ranks in turn, and cuts them to the length of the data set, which is right only
    for its DefaultSampler.

    Raises:
        ValueError: If samples are left out or come twice (found before the first batch, on every rank), if a label is
            beyond the classes of the model, which would count as wrong, or if the number of results is another.
        FloatingPointError: If a score is NaN or infinite.
    """

    def before_val_epoch(self, runner) -> None:
        self._check_indices(runner.val_dataloader)

    def before_test_epoch(self, runner) -> None:
        self._check_indices(runner.test_dataloader)

    def _check_indices(self, loader: DataLoader) -> None:
        self.results = self.expected = 0
        if not isinstance(loader, DataLoader) or loader.batch_sampler is None:  # a stream, whose length is unknown
            return
        count = len(loader.dataset)
        mine = list(islice(chain.from_iterable(loader.batch_sampler), count + 1))
        ranks = all_gather_object(mine)
        taken = list(chain.from_iterable(zip(*ranks, strict=False)))[:count]
        if sorted(taken) != list(range(count)):
            raise ValueError(
                f'of {count} samples {len(set(taken))} would be scored on {len(ranks)} ranks, some of them twice: test '
                "with sampler=dict(type='DefaultSampler', shuffle=False) and a batch_size, without drop_last, or alone"
            )
        self.expected = len(mine)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._check_results(outputs, batch_idx, runner.test_dataloader)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._check_results(outputs, batch_idx, runner.val_dataloader)

    def _check_results(self, outputs, batch_idx: int, loader: DataLoader) -> None:
        self.results += len(outputs)
        for sample in outputs:
            fields = dict(sample.items()) if isinstance(sample, BaseDataElement) else sample
            if not isinstance(fields, dict):
                continue
            for name, value in fields.items():
                if name.startswith('pred') and not all_finite(value):
                    raise FloatingPointError(
                        f'{name} of a sample in batch {batch_idx} is NaN or infinite: the model '
                        'is broken, or its precision too low (leave --amp out)'
                    )
            self._check_label(fields, loader)
        if self.expected and batch_idx == len(loader) - 1 and self.results != self.expected:
            raise ValueError(f'the model gave {self.results} results for {self.expected} samples')

    @staticmethod
    def _check_label(fields: dict, loader: DataLoader) -> None:
        """Refuse a label, of one class or several, that is beyond the scores, which are (classes,)."""
        label, scores = fields.get('gt_label'), fields.get('pred_score')
        if isinstance(label, Tensor) and isinstance(scores, Tensor) and scores.dim() == 1 and label.numel():
            if label.max() >= len(scores):
                where = getattr(loader.dataset, 'ann_file', '') or type(loader.dataset).__name__
                raise ValueError(
                    f'the label {int(label.max())} of a sample of {where} is beyond the {len(scores)} '
                    'classes of the model: set num_classes, or mend the list'
                )
