"""Three ways to read a text of n + 1 tokens, each of which predicts every token but the first exactly once.

They differ in what a prediction may see. Places count predictions: place p is token p + 1, given tokens up to p.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attention_arena.splits import StreamSplit, Tokens
from attention_arena.task import Batch, Split


class Reading(NamedTuple):
    """A batch, and the place (B, T) int64 that each of its targets has in the text.

    Rows that resume continue those of the reading before.
    """

    batch: Batch
    places: Tensor


Readings = Callable[[int], Iterator[Reading]]
"""(rows of a batch at most) -> the readings of a text, in order."""


def chunks(tokens: Tokens, length: int, batch_size: int) -> Iterator[Reading]:
    """Yield windows of `length` tokens side by side, all of whose targets are scored.

    The first prediction of a window sees one token, the last one `length`.
    """
    return sliding(tokens, length, length, batch_size)


def sliding(tokens: Tokens, length: int, stride: int, batch_size: int) -> Iterator[Reading]:
    """Yield windows that begin `stride` tokens apart, of which only the last `stride` targets are scored.

    So every prediction but those of the first window, which counts in full, sees `length - stride + 1` tokens or more;
    with a stride of 1, `length`. The last window is shorter where the text ends.
    """
    n, seen = len(tokens) - 1, length - stride
    starts = np.arange(0, max(1, n - seen), stride)
    lengths = np.minimum(length, n - starts)
    n_full = int((lengths == length).sum())
    for first in range(0, n_full, batch_size):
        yield _windows(tokens, starts[first : min(first + batch_size, n_full)], length, seen)
    if n_full < len(starts):
        yield _windows(tokens, starts[n_full:], int(lengths[-1]), seen)


def _windows(tokens: Tokens, starts: npt.NDArray[np.int64], T: int, seen: int) -> Reading:
    """Return the windows of `T` tokens from `starts` (B,) on, scored behind the first `seen` targets."""
    places = starts[:, None] + np.arange(T)  # (B, T)
    inputs, targets = (torch.from_numpy(tokens[places + ahead].astype(np.int64)) for ahead in (0, 1))
    scored = torch.from_numpy((np.arange(T) >= seen) | (starts[:, None] == 0))
    return Reading(Batch(inputs, targets, scored=scored), torch.from_numpy(places))


def cached(tokens: Tokens, length: int, batch_size: int) -> Iterator[Reading]:
    """Yield segments of `length` tokens that continue those before them, as evaluation in training reads them.

    The text is cut into `batch_size` equal rows, whose beginnings have nothing before them; into fewer where a row
    would be shorter than four segments, because most of it would then be its beginning.
    """
    n_rows = max(1, min(batch_size, (len(tokens) - 1) // (4 * length)))
    text = StreamSplit(tokens, length, known_hash="unused")
    # The targets of a text that counts its tokens are the places, from 1.
    counted = StreamSplit(np.arange(len(tokens)), length, known_hash="unused")
    for batch, numbers in zip(text.batches(n_rows), counted.batches(n_rows), strict=True):
        yield Reading(batch, numbers.targets - 1)


def own_windows(split: Split, length: int, max_tokens: int | None, batch_size: int) -> Iterator[Reading]:
    """Yield the windows of `length` tokens that a split is made of, up to about `max_tokens` tokens in all."""
    left = None if max_tokens is None else max(1, max_tokens // length)
    done = 0
    for whole in split.batches(batch_size):
        batch = whole if left is None else whole.rows(0, left - done)
        B, T = batch.tokens.shape
        yield Reading(batch, done * length + torch.arange(B)[:, None] * length + torch.arange(T))
        done += B
        if done == left:
            return
