"""Parallel text as a data set of MMEngine."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from ...models.translation import EOS
from ...registry import DATASETS, TASK_UTILS
from ...signatures import shows_arguments


@DATASETS.register_module()
@shows_arguments('metainfo')
class ParallelText(BaseDataset):
    """Sentences and their translations, as token numbers that end with ``</s>``.

    Each item has ``inputs`` (S,) and ``targets`` (T,), integer tensors.  In test mode it has ``data_samples`` too, with
    ``index`` (the line), ``reference_tokens`` (tokenised text) and ``reference`` (as one would write it).

    For training, pairs with an empty side or with more than ``max_length`` tokens on one are left out, and the log says
    how many; in test mode every line stays.

    Its ``metainfo`` names the corpus and has the ``fingerprints`` of its vocabularies and merges, by which a checkpoint
    is known to belong to it.

    Args:
        corpus: Config of the corpus, a SubwordCorpus or NumberWords.
        split: The split of the corpus.
        max_length: The most tokens in a sentence, ``</s>`` included.
        sort: Whether to sort by length, so that batches hold little padding; ``index`` keeps the line.
        **kwargs: Arguments of MMEngine's BaseDataset: ``test_mode``, ``indices``, ...
    """

    def __init__(self, corpus: dict, split: str, max_length: int = 1024, sort: bool = False, **kwargs) -> None:
        self.corpus, self.split, self.max_length, self.sort = TASK_UTILS.build(corpus), split, max_length, sort
        # It is plain data, because MMEngine writes it into checkpoints.
        metainfo = dict(corpus=dict(corpus), fingerprints=self.corpus.fingerprints())
        super().__init__(metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        source_vocabulary, target_vocabulary = self.corpus.source_vocabulary, self.corpus.target_vocabulary
        pairs, empty, long = [], 0, 0
        for index, pair in enumerate(self.corpus.read(self.split)):
            is_empty = not (pair.source and pair.target)
            is_long = max(len(pair.source), len(pair.target)) >= self.max_length
            empty, long = empty + is_empty, long + is_long
            if (is_empty or is_long) and not self.test_mode:
                continue
            info = dict(
                index=index,
                inputs=np.array([*source_vocabulary.encode(pair.source), EOS], np.int32),
                targets=np.array([*target_vocabulary.encode(pair.target), EOS], np.int32),
            )
            if self.test_mode:
                info.update(reference_tokens=self.corpus.join(pair.target), reference=pair.reference)
            pairs.append(info)
        if empty or long:
            print_log(
                f'{self.split}: {empty} pairs have an empty side, {long} more than {self.max_length} tokens; '
                f'{"kept" if self.test_mode else "left out"}; {len(pairs)} pairs in all',
                'current',
            )
        if self.sort:
            pairs.sort(key=lambda info: (len(info['inputs']), len(info['targets'])))
        return pairs

    @force_full_init
    def lengths(self) -> np.ndarray:
        """Return the numbers of tokens of source and target, ``</s>`` included: (N, 2)."""
        infos = (self.get_data_info(i) for i in range(len(self)))
        return np.array([(len(info['inputs']), len(info['targets'])) for info in infos]).reshape(-1, 2)

    def prepare_data(self, idx: int) -> dict:
        info = self.get_data_info(idx)
        item = dict(inputs=torch.from_numpy(info['inputs']), targets=torch.from_numpy(info['targets']))
        if self.test_mode:
            item['data_samples'] = BaseDataElement(
                metainfo={name: info[name] for name in ('index', 'reference_tokens', 'reference')}
            )
        return item
