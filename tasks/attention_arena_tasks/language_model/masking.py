"""Corrupted segments of a stream, by BERT's rule (Devlin et al. 2019, section 3.1 and appendix A.1).

In every segment 15 per cent of the tokens, at least one, are to be predicted. Of these 80 per cent are replaced by the
mask, 10 per cent by a random token, and 10 per cent stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from attention_arena.splits import StreamSplit, Tokens, index_batches
from attention_arena.task import Batch, Split

MASK = 0
"""The mask's id; token t of the stream is id t + 1, so that an adaptive softmax has the mask in its first band."""
SHARE = 15
"""Per cent of a segment's tokens that are predicted."""
MASKED, REPLACED = 80, 90
"""Per cent of those up to which the mask is put, and up to which a random token is."""
EVALUATION_SEED = 1810_04805
"""Of a pass in order, so that every evaluation hides the same tokens; BERT's number on arXiv."""


class MaskedSplit(Split):
    """Segments of `length` tokens of a stream, each with some tokens to predict from all the others.

    Which tokens, and what stands in their place, is drawn for every position of the stream from the pass's seed, so it
    does not depend on how segments are batched. In order, segments begin at multiples of `length`; what is left over at
    the end is predicted in a last segment that begins earlier and predicts nothing twice. With a seed, segments begin
    at multiples of `length` from a random place, in random order, and what does not fill one is left out. A stream
    shorter than a segment is one segment.
    """

    def __init__(self, stream: StreamSplit, n_tokens: int, length: int) -> None:
        self.tokens, self.n_tokens = stream.tokens, n_tokens
        self.length = min(length, len(stream.tokens))
        fresh = self._fresh(self._starts(None))
        self.n_examples = int(n_predicted(fresh).sum())
        rule = f"{stream.content_hash} {self.length} {SHARE} {MASKED} {REPLACED} {EVALUATION_SEED}"
        self.content_hash = hashlib.sha256(rule.encode()).hexdigest()

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass, in order, or shuffled and in full batches."""
        starts = self._starts(order_seed)
        seed = EVALUATION_SEED if order_seed is None else order_seed
        for some in index_batches(len(starts), batch_size, order_seed):
            yield self._corrupted(starts[some], seed, straight=order_seed is None)

    def _starts(self, order_seed: int | None) -> npt.NDArray[np.int64]:
        """Return where segments begin."""
        N, T = len(self.tokens), self.length
        if order_seed is None:
            return np.minimum(np.arange(0, N, T), N - T)
        first = int(np.random.PCG64([order_seed, 1]).random_raw()) % min(T, N - T + 1)
        return np.arange(first, N - T + 1, T)

    def _fresh(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many tokens at the end of each segment of a pass in order were in none before."""
        return self.length - (-starts) % self.length * (starts > 0)

    def _corrupted(self, starts: npt.NDArray[np.int64], seed: int, straight: bool) -> Batch:
        T = self.length
        targets = self.tokens[starts[:, None] + np.arange(T)].astype(np.int64) + 1  # (B, T)
        chances = draws(seed, starts, T)  # (B, T, 2)
        fresh = self._fresh(starts) if straight else np.full(len(starts), T)
        scored = _chosen(chances[..., 0], fresh)
        share = (chances[..., 1] >> np.uint64(32)).astype(np.int64)
        random = ((chances[..., 1] & np.uint64(2**32 - 1)) * np.uint64(self.n_tokens)) >> np.uint64(32)
        masked, replaced = (share < percent * 2**32 // 100 for percent in (MASKED, REPLACED))
        other = np.where(masked, MASK, np.where(replaced, random.astype(np.int64) + 1, targets))
        tokens = np.where(scored, other, targets)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), scored=torch.from_numpy(scored))


def n_predicted(n_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many of so many tokens are predicted: `SHARE` per cent, rounded, and at least one."""
    return np.maximum(1, (n_tokens * SHARE + 50) // 100)


def draws(seed: int, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.uint64]:
    """Return two random numbers (B, T, 2) for each position from `starts` (B,) on: the same for a position always."""
    generator = np.random.PCG64(seed)
    origin = generator.state
    rows = np.empty((len(starts), length * 2), dtype=np.uint64)
    for row, start in zip(rows, starts.tolist(), strict=True):
        generator.state = origin
        generator.advance(2 * start)
        row[:] = generator.random_raw(length * 2)
    return rows.reshape(len(starts), length, 2)


def _chosen(chances: npt.NDArray[np.uint64], fresh: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which tokens (B, T) are predicted: those with the smallest chances of the last `fresh` (B,) tokens."""
    T = chances.shape[1]
    chances = np.where(np.arange(T) >= T - fresh[:, None], chances, np.uint64(2**64 - 1))
    last = np.take_along_axis(np.sort(chances, axis=1), n_predicted(fresh)[:, None] - 1, axis=1)
    return chances <= last


def of_stream(tokens: Tokens, n_tokens: int, length: int) -> MaskedSplit:
    """Return the corrupted segments of an array of tokens."""
    return MaskedSplit(StreamSplit(tokens, length), n_tokens, length)
