"""Turn numbers of tokens into text, line by line, for all metrics of translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from ..registry import TASK_UTILS


class TranslationMetric(BaseMetric):
    """A metric that collects translations as text; the data set's metainfo says of which corpus they are."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        corpus = self.corpus
        for sample in data_samples:
            tokens = corpus.target_vocabulary.decode(sample['tokens'].tolist())
            self.results.append(
                dict(
                    index=sample['index'],
                    tokens=corpus.join(tokens),
                    text=corpus.decode(tokens),
                    reference_tokens=sample['reference_tokens'],
                    reference=sample['reference'],
                )
            )

    @property
    def corpus(self):
        """The corpus that the data set was made of."""
        config = (self.dataset_meta or {}).get('corpus')
        if config is None:
            raise ValueError(f"{type(self).__name__} needs the metainfo 'corpus' of mmcgc.ParallelText")
        if getattr(self, '_built', (None, None))[0] != config:
            self._built = config, TASK_UTILS.build(config)
        return self._built[1]
