"""Compute BLEU (Papineni et al., 2002) in two forms, which must not be mixed up."""

from __future__ import annotations

from mmengine.logging import print_log

from ..extras import import_extra
from ..registry import METRICS
from .translation import TranslationMetric


@METRICS.register_module()
class BLEU(TranslationMetric):
    """BLEU as sacrebleu computes it.

    - ``bleu/tokenised_lc`` compares lower-cased Moses tokens.  It is comparable in kind with the paper's figures and
      with others on IWSLT'14, which are computed on tokens.
    - ``bleu/detokenised`` compares text as one would write it, which sacrebleu tokenises as ``bleu/signature`` says; it
      is left out if the corpus has no such references.  Case counts unless the corpus is lower-cased.

    ``bleu/length_ratio`` is the length of the translations over that of the references, in tokens.
    """

    default_prefix = 'bleu'

    def compute_metrics(self, results: list[dict]) -> dict:
        BLEU = import_extra('sacrebleu.metrics').BLEU
        tokens = [result['tokens'].lower() for result in results]
        references = [result['reference_tokens'].lower() for result in results]
        # The texts are tokenised on purpose, which force says.
        score = BLEU(tokenize='none', force=True).corpus_score(tokens, [references])
        metrics = dict(tokenised_lc=score.score, length_ratio=score.ratio)
        if all(result['reference'] is not None for result in results):
            bleu = BLEU(lowercase=self.corpus.lowercase)
            texts = [result['text'] for result in results]
            metrics['detokenised'] = bleu.corpus_score(texts, [[result['reference'] for result in results]]).score
            metrics['signature'] = str(bleu.get_signature())
            if self.corpus.settings.get('reference') == 'detokenised':
                metrics['signature'] += ' (references detokenised from tokens)'
        print_log(
            f'tokenised lower-cased BLEU {metrics["tokenised_lc"]:.2f}; detokenised BLEU '
            f'{metrics.get("detokenised", float("nan")):.2f}, {metrics.get("signature", "no references")}',
            'current',
        )
        return metrics
