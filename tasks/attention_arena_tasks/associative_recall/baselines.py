"""What readers score who do not look a key up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_arena.rows import RowSplit


def trivial_baselines(train: RowSplit, test: RowSplit, vocab_size: int) -> dict[str, float]:
    """Return accuracies in percent on `test`: name -> value."""
    P = test.answers.shape[1]
    return {
        "any value": 100.0 / (vocab_size - vocab_size // 2),
        "any value of the row": 100.0 / P,
        "most recent value": _percent(_most_recent(test, vocab_size // 2) == test.answers),
        "pair that is commonest at the place": _percent(_by_place(train, test) == np.arange(P)),
    }


def _most_recent(split: RowSplit, first_value: int) -> npt.NDArray[np.uint16]:
    """Return the last token before each query that is a value (N, P); there is one, since the pairs come first."""
    is_value = split.tokens >= first_value
    last = np.maximum.accumulate(np.where(is_value, np.arange(split.tokens.shape[1]), 0), axis=1)
    where = np.take_along_axis(last, split.places.astype(np.int64), axis=1)
    recent: npt.NDArray[np.uint16] = np.take_along_axis(np.asarray(split.tokens), where, axis=1)
    return recent


def _by_place(train: RowSplit, test: RowSplit) -> npt.NDArray[np.int64]:
    """Return for each query of `test` the pair (N, P) that is asked for most often at its place in `train`.

    Slots that weigh more are drawn first, and so for the pairs that stand first.
    """
    T, P = train.tokens.shape[1], train.places.shape[1]
    asked = train.places.astype(np.int64) * P + np.arange(P)
    counts = np.bincount(asked.ravel(), minlength=T * P).reshape(T, P)
    likeliest: npt.NDArray[np.int64] = counts.argmax(axis=1)[test.places]
    return likeliest


def _percent(right: npt.NDArray[np.bool_]) -> float:
    return 100.0 * float(right.mean())
