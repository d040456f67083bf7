"""How well two documents match by what they are made of, without any model: a threshold on how alike they are.

The words of two papers say whether one cites the other more often than most scores that the Long Range Arena published,
whose models read bytes; bytes alone show what the distribution of letters gives away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from attention_arena.byte_text import N_IDS, text_of
from attention_arena.pairs import PairSplit

WORD = re.compile(rb"[a-z0-9_']+")
PAIRS_AT_ONCE = 4096

Floats = npt.NDArray[np.float64]


def trivial_baselines(train: PairSplit, test: PairSplit) -> dict[str, float]:
    """Return accuracies in percent on `test` of rules fitted on `train`, both of two classes: name -> value."""
    majority = int(np.bincount(train.targets, minlength=2).argmax())
    words = _Words(train)
    likeness = {
        "bytes, cosine of counts": [cosines(_histograms(split), split.pairs) for split in (train, test)],
        "words, cosine of tf-idf": [cosines(words.of(split), split.pairs) for split in (train, test)],
    }
    scores = {"majority class": 100 * float((test.targets == majority).mean())}
    for name, (fitting, scoring) in likeness.items():
        threshold = best_threshold(fitting, train.targets)
        scores[name] = 100 * float(((scoring >= threshold) == test.targets).mean())
    return scores


def best_threshold(scores: Floats, targets: npt.NDArray[Any]) -> float:
    """Return the threshold of greatest accuracy, where class 1 is said of scores (N,) from it on up."""
    order = np.argsort(scores, kind="stable")
    ascending, ones = scores[order], targets[order].astype(np.int64)
    # Right, if the threshold is the k-th score: the zeros below it, and the ones from it on.
    right = np.concatenate([[0], np.cumsum(1 - ones)]) + np.concatenate([np.cumsum(ones[::-1])[::-1], [0]])
    can_be = np.concatenate([[True], ascending[1:] > ascending[:-1], [True]])
    return float(np.append(ascending, np.inf)[np.where(can_be, right, -1).argmax()])


def cosines(rows: Any, pairs: npt.NDArray[Any]) -> Floats:
    """Return the cosine of each pair (N, 2) of rows of a sparse matrix; that of a row of zeros is 0."""
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    unit = sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ rows
    unit = unit.tocsr()
    parts = [np.zeros(0)]
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        first, second = pairs[start : start + PAIRS_AT_ONCE].T
        parts.append(np.asarray(unit[first].multiply(unit[second]).sum(axis=1)).ravel())
    return np.concatenate(parts)


def _histograms(split: PairSplit) -> Any:
    """Return how often each id occurs in each document (n, 257), as a sparse matrix."""
    counts = np.zeros((len(split.offsets) - 1, N_IDS))
    for row, document in zip(counts, _documents(split), strict=True):
        row += np.bincount(document, minlength=N_IDS)
    return sparse.csr_matrix(counts)


class _Words:
    """Counts of words, weighted by their rarity in the training documents: log((n + 1) / (n with the word + 1))."""

    def __init__(self, train: PairSplit) -> None:
        self.columns: dict[bytes, int] = {}
        counts = self._counts(train)
        n, n_with = counts.shape[0], np.bincount(counts.indices, minlength=counts.shape[1])
        self.rarity = np.log((n + 1) / (n_with + 1))

    def of(self, split: PairSplit) -> Any:
        """Return the weighted counts of each document (n, n words), as a sparse matrix; a new word is the rarest."""
        counts = self._counts(split)
        unseen = np.full(counts.shape[1] - len(self.rarity), self.rarity.max(initial=0.0))
        return counts @ sparse.diags(np.concatenate([self.rarity, unseen]))

    def _counts(self, split: PairSplit) -> Any:
        values: list[int] = []
        columns: list[int] = []
        bounds = [0]
        for document in _documents(split):
            words = Counter(WORD.findall(text_of(document).lower()))
            values += words.values()
            columns += [self.columns.setdefault(word, len(self.columns)) for word in words]
            bounds.append(len(columns))
        shape = (len(bounds) - 1, len(self.columns))
        return sparse.csr_matrix((np.array(values, dtype=np.float64), columns, bounds), shape=shape)


def _documents(split: PairSplit) -> Iterator[npt.NDArray[Any]]:
    for start, stop in zip(split.offsets[:-1].tolist(), split.offsets[1:].tolist(), strict=True):
        yield split.tokens[start:stop]
