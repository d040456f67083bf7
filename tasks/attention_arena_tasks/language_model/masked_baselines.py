"""What a reader without a model scores at guessing hidden tokens."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.language_model.baselines import AT_ONCE, FEW, Ids, frequencies
from attention_arena_tasks.language_model.masking import MASK, MASKED, REPLACED, MaskedSplit

Array = npt.NDArray[np.float64]
BATCH = 64


def masked_baselines(train: Ids, test: MaskedSplit, unit: str) -> dict[str, float]:
    """Return scores on the hidden tokens of `test` of counts in `train`: name -> bits, or perplexity for words.

    The readers know the rule by which tokens are hidden: one that is not the mask is right or random.
    """
    n_tokens = test.n_tokens
    single = frequencies(train, n_tokens)
    between = Between(train, single) if n_tokens <= FEW else None
    names = [f"{unit} frequencies", *([f"{unit} between its neighbours"] if between is not None else [])]
    nats = np.zeros(len(names))
    for batch in test.batches(BATCH):
        assert batch.scored is not None
        tokens, targets, scored = batch.tokens.numpy(), batch.targets.numpy(), batch.scored.numpy()
        seen, true = tokens[scored], targets[scored] - 1
        nats[0] += _nats(single[true], single[np.maximum(seen, 1) - 1], seen, true, n_tokens)
        if between is not None:
            left, right = (_shifted(tokens, step)[scored] for step in (1, -1))
            of_true = between.probability(left, right, true)
            of_seen = between.probability(left, right, np.maximum(seen, 1) - 1)
            nats[1] += _nats(of_true, of_seen, seen, true, n_tokens)
    means = nats / test.n_examples
    values = (math.exp(value) if unit == "word" else value / math.log(2) for value in means.tolist())
    return dict(zip(names, values, strict=True))


def _nats(p_true: Array, p_seen: Array, seen: Ids, true: Ids, n_tokens: int) -> float:
    """Return the nats of tokens `true` (N,), where `seen` (N,) stands, with what is known of either beforehand.

    What is seen was kept with probability `kept`, or put at random, by Bayes' rule; if put, the truth is as before.
    """
    kept_share, random_share = (100 - REPLACED) / 100, (REPLACED - MASKED) / 100
    kept = kept_share * p_seen / (kept_share * p_seen + random_share / n_tokens)
    shown = kept * (seen - 1 == true) + (1 - kept) * p_true
    return -float(np.log(np.where(seen == MASK, p_true, shown)).sum())


class Between:
    """How often each token stands between two others in `train`; `single` are the tokens' frequencies."""

    def __init__(self, train: Ids, single: Array) -> None:
        V = len(single)
        self.single = single
        self.counts = np.zeros(V**3, dtype=np.int64)
        for start in range(0, len(train) - 2, AT_ONCE):
            left, middle, right = (
                train[start + step : len(train) - 2 + step][:AT_ONCE].astype(np.int64) for step in range(3)
            )
            self.counts += np.bincount((left * V + right) * V + middle, minlength=V**3)
        self.totals = self.counts.reshape(-1, V).sum(axis=1)

    def probability(self, left: Ids, right: Ids, token: Ids) -> Array:
        """Return the probability of `token` (N,) between ids `left` and `right`, plus one each; else its frequency.

        Neighbours are ids as the model sees them, so the mask, or the segment's end, may stand there.
        """
        V = len(self.single)
        known = (left != MASK) & (right != MASK)
        context = (np.maximum(left, 1) - 1) * V + np.maximum(right, 1) - 1
        smoothed: Array = (self.counts[context * V + token] + 1) / (self.totals[context] + V)
        return np.where(known, smoothed, self.single[token])


def _shifted(tokens: Ids, step: int) -> Ids:
    """Return what stands `step` before each token (B, T), and the mask where the segment has nothing there."""
    moved = np.roll(tokens, step, axis=1)
    moved[:, 0 if step > 0 else -1] = MASK
    return moved
