"""The encoder-decoder and its search: the same scores step by step, alone or in company, with padding or without."""

import itertools

import pytest
import torch
from helpers import assert_close
from torch.nn import functional as F
from translation_kinds import KINDS

from mmcgc.models.translation import BOS, EOS, PAD, UNK, TranslationModel, beam_search
from mmcgc.models.translation.embedding import sinusoids

ALL = pytest.mark.parametrize('kind', KINDS)


def sentences(lengths, vocabulary=16, seed=1):
    """(B, S), ended by ``</s>`` and padded."""
    generator = torch.Generator().manual_seed(seed)
    batch = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.randint(4, vocabulary, (length,), generator=generator)
        row[length - 1] = EOS
    return batch


def log_p(model, source, tokens):
    """The log-probability of a translation (T,), from one full forward."""
    target = torch.cat([tokens, torch.tensor([EOS])])[None]
    return model(source, target).log_softmax(-1)[0].gather(1, target[0][:, None]).sum()


@ALL
def test_incremental_decoding_gives_the_scores_of_a_full_forward(build, kind):
    model = build(kind)
    source, target = sentences((9, 6, 2)), sentences((12, 12, 12), seed=2)
    full = model(source, target)
    before = torch.cat([torch.full((3, 1), BOS), target[:, :-1]], dim=1)
    decoder = model.decoder
    read = decoder.read(*model.encoder(source))
    for chunks in ((1,) * 12, (5, 1, 6)):
        state = decoder.start()
        steps = torch.cat([decoder(chunk, read, state) for chunk in before.split(chunks, dim=1)], dim=1)
        assert_close(steps, full, tolerance=1e-12)


@ALL
def test_no_position_sees_a_later_target(build, kind):
    model = build(kind)
    source, target = sentences((9,)), sentences((12,), seed=2)
    other = target.clone()
    other[:, 6] = 4 + (other[:, 6] - 3) % 12
    difference = (model(source, target) - model(source, other)).abs().amax(-1)[0]
    assert (difference[:7] == 0).all() and (difference[7:] > 1e-9).all()


@ALL
def test_batch_order_and_padding_change_no_score(build, kind):
    model = build(kind)
    source, target = sentences((9, 6, 2, 17)), sentences((5, 12, 1, 8), seed=2)
    together = model(source, target)
    order = torch.tensor([2, 0, 3, 1])
    assert_close(model(source[order], target[order]), together[order], tolerance=1e-12)
    assert_close(model(F.pad(source, (0, 40)), F.pad(target, (0, 3)))[:, :-3], together, tolerance=1e-12)
    for i, (s, t) in enumerate(((9, 5), (6, 12), (2, 1), (17, 8))):
        assert_close(model(source[i : i + 1, :s], target[i : i + 1, :t])[0], together[i, :t], tolerance=1e-12)


@ALL
@pytest.mark.parametrize('beam', [1, 4])
def test_batch_order_and_padding_change_no_translation(build, kind, beam):
    model = build(kind, search=dict(beam=beam))
    source, lengths = sentences((9, 6, 2, 17)), (9, 6, 2, 17)
    together = model(source, mode='predict')
    order = [2, 0, 3, 1]
    shuffled = model(F.pad(source, (0, 40))[order], mode='predict')
    for i, sample in zip(order, shuffled, strict=True):
        (alone,) = model(source[i : i + 1, : lengths[i]], mode='predict')
        for other in (sample, alone):
            assert other.tokens.tolist() == together[i].tokens.tolist()
            assert other.score == pytest.approx(together[i].score, rel=1e-10)


@ALL
@pytest.mark.parametrize('beam, penalty', [(1, 1.0), (3, 1.0), (6, 0.0), (6, 0.6)])
def test_scores_of_the_search_are_those_of_a_full_forward(build, kind, beam, penalty):
    model = build(kind, search=dict(beam=beam, length_penalty=penalty))
    source = sentences((9, 6, 2))
    for i, sample in enumerate(model(source, mode='predict')):
        expected = log_p(model, source[i : i + 1], sample.tokens) / (len(sample.tokens) + 1) ** penalty
        assert sample.score == pytest.approx(expected.item(), rel=1e-10)


@ALL
def test_a_beam_of_one_is_greedy(build, kind):
    model = build(kind, search=dict(beam=1, max_length=(2, 3)))
    lengths = (9, 6, 2)
    source = sentences(lengths)
    for i, sample in enumerate(model(source, mode='predict')):
        tokens = []
        while len(tokens) < 2 * lengths[i] + 3:
            scores = model(source[i : i + 1], torch.tensor([[*tokens, EOS]]))[0, -1]
            scores[[PAD, BOS, UNK]] = -torch.inf
            tokens.append(int(scores.argmax()))
            if tokens[-1] == EOS:
                tokens.pop()
                break
        assert sample.tokens.tolist() == tokens


@pytest.mark.parametrize('penalty', [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_translations(build, penalty):
    """Three words, translations of up to three: 40 in all, each scored by a full forward."""
    model = build('cgc-lightconv', vocabulary=7, search=dict(beam=27, length_penalty=penalty, max_length=(0, 3)))
    for seed in range(4):
        source = sentences((5,), vocabulary=7, seed=seed)
        everything = [
            torch.tensor(words, dtype=torch.long) for n in range(4) for words in itertools.product((4, 5, 6), repeat=n)
        ]
        scores = [log_p(model, source, words).item() / (len(words) + 1) ** penalty for words in everything]
        best = max(range(40), key=scores.__getitem__)
        (found,) = model(source, mode='predict')
        assert found.tokens.tolist() == everything[best].tolist()
        assert found.score == pytest.approx(scores[best], rel=1e-10)


def test_a_wider_beam_scores_no_less_here(build):
    """Not a law of beam search, but wrong bookkeeping would show."""
    source = sentences((9, 6, 2, 17, 4, 8))
    scores = []
    for beam in (1, 6):
        model = build('lightconv', search=dict(beam=beam, length_penalty=0.0))
        scores.append([sample.score for sample in model(source, mode='predict')])
    assert all(b >= a - 1e-9 for a, b in zip(*scores, strict=True)) and scores[0] != scores[1]


def test_special_tokens_are_never_written_and_lengths_are_kept(build):
    model = build('lightconv', search=dict(beam=3, max_length=(1, 2)))
    with torch.no_grad():  # a model that wants nothing but special tokens, and never to end
        model.decoder.output.weight.zero_()
        model.decoder.layers[-1].feed_forward.norm.weight.zero_()
        model.decoder.layers[-1].feed_forward.norm.bias.fill_(1)
        model.decoder.output.weight[[PAD, BOS, UNK]] = 5
        model.decoder.output.weight[EOS] = -5
    for length, sample in zip((9, 2), model(sentences((9, 2)), mode='predict'), strict=True):
        assert len(sample.tokens) == length + 2 and not set(sample.tokens.tolist()) & {PAD, BOS, EOS, UNK}


def test_a_translation_may_be_empty(build):
    model = build('lightconv')
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.layers[-1].feed_forward.norm.weight.zero_()
        model.decoder.layers[-1].feed_forward.norm.bias.fill_(1)
        model.decoder.output.weight[EOS] = 50
    assert [sample.tokens.tolist() for sample in model(sentences((9, 2)), mode='predict')] == [[], []]


def test_no_sentences_give_no_translations(build):
    decoder = build('lightconv').decoder
    best, scores = beam_search(
        decoder, torch.zeros(0, 3, 8).double(), torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, dtype=torch.long)
    )
    assert best == [] and scores.shape == (0,)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
@pytest.mark.parametrize(
    'name, row',
    [
        ('decoder.output.weight', 9),
        ('decoder.embedding.weight', BOS),
        ('encoder.embedding.weight', EOS),
        ('decoder.output.weight', EOS),
    ],
)
def test_scores_that_are_no_numbers_stop_the_search(build, name, row, value):
    model = build('lightconv')
    model.get_parameter(name).data[row] = value
    with pytest.raises(FloatingPointError, match='a weight of the checkpoint is'):
        model(sentences((9, 6)), mode='predict')


def test_a_translation_that_cannot_end_stops_the_search(build):
    model = build('lightconv')
    with torch.no_grad():  # the end token alone has the score of minus infinity
        model.decoder.layers[-1].feed_forward.norm.weight.zero_()
        model.decoder.layers[-1].feed_forward.norm.bias.fill_(1)
        model.decoder.output.weight[EOS] = -torch.inf
    with pytest.raises(FloatingPointError, match='gives no translation a finite score'):
        model(sentences((9, 6)), mode='predict')


@pytest.mark.parametrize(
    'search, message',
    [
        (dict(beam=0), 'beam=0 must be positive'),
        (dict(length_penalty=torch.inf), 'length_penalty=inf finite'),
        (dict(width=3), 'no option width; it has beam'),
    ],
    ids=['beam', 'penalty', 'unknown'],
)
def test_options_of_the_search_are_checked(build, search, message):
    with pytest.raises(ValueError, match=message):
        build('lightconv', search=search)


@ALL
def test_loss_is_the_label_smoothed_cross_entropy_of_the_real_tokens(build, kind):
    model = build(kind, label_smoothing=0.2)
    source, target = sentences((9, 6, 2)), sentences((5, 12, 1), seed=2)
    logs = model(source, target).log_softmax(-1)
    terms = []
    for row, tokens in zip(logs, target, strict=True):
        for scores, token in zip(row, tokens, strict=True):
            if token != PAD:
                terms.append(-(0.8 * scores[token] + 0.2 * scores.mean()))
    assert len(terms) == 18
    assert_close(model(source, target, mode='loss')['loss'], sum(terms) / 18)


@ALL
def test_every_parameter_learns(build, kind):
    model = build(kind).train()
    model(sentences((9, 6, 2)), sentences((5, 12, 1), seed=2), mode='loss')['loss'].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    still = [name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-12]
    assert all(name.endswith('key.bias') for name in still)  # a softmax does not see what all scores share


def test_source_longer_than_anything_in_training(build):
    model = build('cgc-lightconv', search=dict(beam=2, max_length=(0, 3)))
    (sample,) = model(sentences((5000,)), mode='predict')
    assert len(sample.tokens) <= 3 and sample.score > -100


def test_positions_go_on_where_they_stopped():
    like = torch.zeros(1, 1, 8, dtype=torch.float64)
    assert_close(torch.cat([sinusoids(0, 3, like), sinusoids(3, 4, like)]), sinusoids(0, 7, like), tolerance=1e-14)
    assert sinusoids(0, 1, like).tolist() == [[0.0] * 4 + [1.0] * 4]


def test_without_targets_the_source_is_encoded(build):
    model = build('cgc-lightconv')
    assert model(sentences((9, 2))).shape == (2, 9, 8)
    with pytest.raises(ValueError, match="mode='loss' needs targets"):
        model(sentences((9, 2)), mode='loss')
    with pytest.raises(ValueError, match="got 'train'"):
        model(sentences((9, 2)), sentences((9, 2)), mode='train')


def test_a_token_outside_the_vocabulary_is_named(build):
    model = build('lightconv')
    for side in ('source', 'target'):
        data = dict(inputs=[torch.tensor([4, EOS])], targets=[torch.tensor([4, EOS])])
        data['inputs' if side == 'source' else 'targets'] = [torch.tensor([16, EOS])]
        with pytest.raises(ValueError, match=f'{side} token 16 is outside the vocabulary of 16'):
            model.data_preprocessor(data)


def test_a_missing_vocabulary_is_named():
    with pytest.raises(FileNotFoundError, match="'nowhere/vocab.de': tools/data/prepare_iwslt14.py"):
        TranslationModel('nowhere/vocab.de', 8, {}, {})


@pytest.mark.parametrize('sizes', [{}, dict(kernel_sizes=[3], num_layers=1)], ids=['neither', 'both'])
def test_layers_are_counted_one_way(sizes):
    mixer = dict(type='mmcgc.SelfAttention')
    with pytest.raises(ValueError, match='give kernel_sizes'):
        TranslationModel(8, 8, dict(mixer=mixer, **sizes), dict(mixer=mixer, num_layers=1))
