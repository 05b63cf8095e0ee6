"""BLEU in its two forms, and exact match."""

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU as SacreBLEU

from mmcgc.datasets.translation import SubwordCorpus
from mmcgc.evaluation import BLEU, ExactMatch


@pytest.fixture
def evaluate(corpus_folder):
    """Evaluates translations given as tokens, against the first lines of the tiny test set."""
    corpus = SubwordCorpus(str(corpus_folder))
    pairs = corpus.read('test')

    def evaluate(metric, translations, without_references=False):
        metric.dataset_meta = dict(corpus=dict(type='mmcgc.SubwordCorpus', folder=str(corpus_folder)))
        for i, tokens in enumerate(translations):
            reference = None if without_references else pairs[i].reference
            ids = torch.tensor(corpus.target_vocabulary.encode(tokens))
            metric.process(
                {}, [dict(tokens=ids, index=i, reference_tokens=corpus.join(pairs[i].target), reference=reference)]
            )
        return metric.evaluate(len(translations))

    return corpus, pairs, evaluate


def test_the_references_themselves_score_100(evaluate):
    corpus, pairs, run = evaluate
    metrics = run(BLEU(), [pair.target for pair in pairs])
    assert metrics['bleu/tokenised_lc'] == pytest.approx(100) and metrics['bleu/length_ratio'] == 1
    assert metrics['bleu/detokenised'] == pytest.approx(100)  # lower-cased, against capitals: the corpus is lower-cased
    assert metrics['bleu/signature'].startswith('nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:')
    assert run(ExactMatch(), [pair.target for pair in pairs]) == {'accuracy/exact_match': 100}


def test_both_forms_are_those_of_sacrebleu(evaluate):
    corpus, pairs, run = evaluate
    random = np.random.default_rng(0)
    translations = [[token for token in pair.target if random.random() > 0.1] for pair in pairs]
    metrics = run(BLEU(), translations)
    tokens = SacreBLEU(tokenize='none', force=True).corpus_score(
        [corpus.join(line) for line in translations], [[corpus.join(pair.target) for pair in pairs]]
    )
    texts = SacreBLEU(lowercase=True).corpus_score(
        [corpus.decode(line) for line in translations], [[pair.reference for pair in pairs]]
    )
    assert metrics['bleu/tokenised_lc'] == pytest.approx(tokens.score) and 10 < tokens.score < 90
    assert metrics['bleu/detokenised'] == pytest.approx(texts.score)
    assert metrics['bleu/length_ratio'] < 1
    right = sum(corpus.join(a) == corpus.join(b.target) for a, b in zip(translations, pairs, strict=True))
    assert run(ExactMatch(), translations) == {'accuracy/exact_match': pytest.approx(5 * right)}


def test_without_untokenised_references_only_the_tokenised_form(evaluate):
    _, pairs, run = evaluate
    metrics = run(BLEU(), [pair.target for pair in pairs], without_references=True)
    assert set(metrics) == {'bleu/tokenised_lc', 'bleu/length_ratio'}


def test_both_forms_are_labelled_in_the_log(evaluate, monkeypatch):
    _, pairs, run = evaluate
    said = []
    monkeypatch.setattr('mmcgc.evaluation.bleu.print_log', lambda text, logger: said.append(text))
    run(BLEU(), [pair.target for pair in pairs])
    assert said[0].startswith('tokenised lower-cased BLEU 100.00; detokenised BLEU 100.00, nrefs:1|case:lc')


def test_empty_translations_score_nothing(evaluate):
    _, pairs, run = evaluate
    metrics = run(BLEU(), [[] for _ in pairs])
    assert metrics['bleu/tokenised_lc'] == metrics['bleu/detokenised'] == metrics['bleu/length_ratio'] == 0


def test_another_data_set_is_refused():
    metric = ExactMatch()
    metric.dataset_meta = dict(classes=('cat',))
    with pytest.raises(ValueError, match="ExactMatch needs the metainfo 'corpus'"):
        metric.process({}, [dict(tokens=torch.tensor([4]))])
