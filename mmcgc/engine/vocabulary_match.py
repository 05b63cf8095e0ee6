"""Check that a translation model's checkpoint meets the vocabularies and merges that it was trained with."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner


def check_fingerprints(meta, corpus: dict[str, str], source: str) -> None:
    """Refuse a checkpoint whose rows of the embeddings stand for other tokens than the corpus says.

    The shapes do not tell: vocabularies are rounded up, and two of the same text, prepared in two ways, are about
    equally long.  A checkpoint without fingerprints, such as a bare state dict, is taken with a warning.

    Args:
        meta: ``meta`` of the checkpoint, in which MMEngine keeps the metainfo of the training data.
        corpus: Fingerprints of the corpus in use.
        source: The name of the checkpoint, for the error.

    Raises:
        ValueError: If a fingerprint differs; the error names the part.
    """
    saved = meta
    for key in ('dataset_meta', 'fingerprints'):
        saved = saved.get(key) if isinstance(saved, dict) else None
    if not isinstance(saved, dict):
        print_log(
            f'{source} does not say with which vocabularies it was trained: make sure that the corpus is the same',
            'current',
            logging.WARNING,
        )
        return
    differing = sorted(str(part).replace('_', ' ') for part in {*saved, *corpus} if saved.get(part) != corpus.get(part))
    if differing:
        raise ValueError(
            f'{source} was trained on another corpus (differing in {", ".join(differing)}): its numbers '
            'stand for other tokens, and what it writes would mean nothing. Use the corpus that it was '
            'trained on, or prepare it again with the same options'
        )


class VocabularyMatchHook(Hook):
    """Apply :func:`check_fingerprints` to what a runner loads, and require one vocabulary in training and validation.

    Args:
        exact: Whether the checkpoint is used as it is (test, resume); in fine-tuning another corpus gives a warning.

    Raises:
        ValueError: If the checkpoint, or the validation data, belongs to another corpus.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for corpus in _corpora(runner):
            try:
                check_fingerprints(checkpoint.get('meta'), corpus, runner._load_from or 'the latest checkpoint')
            except ValueError as error:
                if self.exact:
                    raise
                print_log(
                    f'{error}. The training goes on, since it may learn the new vocabulary', 'current', logging.WARNING
                )

    def before_train(self, runner: Runner) -> None:
        corpora = _corpora(runner)
        if any(corpus != corpora[0] for corpus in corpora):
            raise ValueError(
                'the training and the validation data have different vocabularies or merges: name one '
                'corpus in train_dataloader and val_dataloader'
            )


def _corpora(runner: Runner) -> list[dict[str, str]]:
    """Return the fingerprints of the text data sets that the runner has built."""
    loops = [loop for loop in (runner._train_loop, runner._val_loop, runner._test_loop) if isinstance(loop, BaseLoop)]
    found = [getattr(loop.dataloader.dataset, 'metainfo', {}).get('fingerprints') for loop in loops]
    return [corpus for corpus in found if corpus is not None]
