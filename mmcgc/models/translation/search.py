"""Search with a beam over a batch of sentences, token by token."""

from __future__ import annotations

import torch
from torch import Tensor

from .decoder import Decoder
from .vocabulary import BOS, EOS, PAD, UNK


@torch.no_grad()
def beam_search(
    decoder: Decoder, memory: Tensor, padding: Tensor, max_lengths: Tensor, beam: int = 6, length_penalty: float = 1.0
) -> tuple[list[Tensor], Tensor]:
    """Find for each sentence the best translation in a beam of hypotheses.

    A hypothesis that ends among the ``beam`` best of a step is finished; a sentence is done when ``beam`` hypotheses
    have finished, or at its greatest length, at which all end.  Of the finished ones, the best by
    ``log p / length**length_penalty`` is returned; both numbers count the end token.  Done sentences leave the batch.
    ``<pad>``, ``<s>`` and ``<unk>`` are never written.  A sentence's translation depends on no other sentence.

    Args:
        decoder: The model's decoder, in eval mode.
        memory, padding: The encoder's output, (B, S, C) and (B, S).
        max_lengths: (B,), the most tokens of each translation, without its end token.
        beam: Width; 1 is greedy search.
        length_penalty: Exponent of the length; 0 compares sums, larger values prefer long translations.

    Returns:
        B translations, (T,) each, without ``<s>`` and ``</s>``, and their scores (B,).

    Raises:
        FloatingPointError: If the scores of the decoder are not finite.
    """
    batch, device = len(memory), memory.device
    source, state = decoder.read(memory, padding), decoder.start()
    sentences = torch.arange(batch, device=device)  # (b,), those that are not done
    history = torch.full((batch * beam, 1), BOS, device=device)  # (b * beam, t)
    sums = torch.full((batch, beam), -torch.inf, device=device, dtype=torch.promote_types(memory.dtype, torch.float32))
    sums[:, 0] = 0  # there is one hypothesis at the start
    finished = torch.zeros(batch, dtype=torch.long, device=device)  # (b,), the number of finished hypotheses
    best: list[Tensor] = [history.new_empty(0)] * batch
    scores = torch.full((batch,), -torch.inf, device=device, dtype=sums.dtype)

    for length in range(1, int(max_lengths.max()) + 2 if batch else 0):
        logits = decoder(history[:, -1:], source, state)[:, 0]  # (b * beam, V)
        steps = logits.to(sums.dtype).log_softmax(dim=-1).unflatten(0, (-1, beam))  # (b, beam, V)
        steps[..., [PAD, BOS, UNK]] = -torch.inf
        at_end = length > max_lengths[sentences]  # (b,)
        ending = steps[..., EOS].clone()  # (b, beam)
        steps.masked_fill_(at_end[:, None, None], -torch.inf)
        steps[..., EOS] = ending

        totals = (sums.unsqueeze(2) + steps).flatten(1)  # (b, beam * V)
        top, index = totals.topk(min(2 * beam, totals.shape[1]), dim=1)  # (b, 2 * beam), the best first
        if top.isnan().any():
            raise FloatingPointError(
                f'the scores of the decoder are NaN in step {length}: a weight of the checkpoint '
                'is NaN or infinite, or the numbers are too large for their type'
            )
        parent, token = index // steps.shape[2], index % steps.shape[2]  # (b, 2 * beam)

        ends = token.eq(EOS) & top.isfinite()  # (b, 2 * beam)
        ends[:, beam:] = False
        finished += ends.sum(dim=1)
        score = (top / length**length_penalty).masked_fill(~ends, -torch.inf)  # (b, 2 * beam)
        score, rank = score.max(dim=1)  # (b,)
        for row in torch.nonzero(score > scores[sentences])[:, 0].tolist():
            sentence = int(sentences[row])
            scores[sentence] = score[row]
            best[sentence] = history[row * beam + parent[row, rank[row]], 1:]

        keep = torch.nonzero((finished < beam) & ~at_end)[:, 0]  # (b',)
        if len(keep) == 0:
            break
        # The best of those that go on are kept: at most one hypothesis of each parent ends, so 2 * beam are enough.
        top = top.masked_fill(token.eq(EOS), -torch.inf)
        sums, rank = top[keep].topk(beam, dim=1)  # (b', beam)
        hypotheses = (keep[:, None] * beam + parent[keep].gather(1, rank)).flatten()  # (b' * beam,)
        history = torch.cat([history[hypotheses], token[keep].gather(1, rank).view(-1, 1)], dim=1)
        state.select(hypotheses)
        if len(keep) < len(sentences):
            source, sentences, finished = source.select(keep), sentences[keep], finished[keep]
    if not scores.isfinite().all():
        raise FloatingPointError(
            'the decoder gives no translation a finite score: a weight of the checkpoint is '
            'infinite, or the numbers are too large for their type'
        )
    return best, scores
