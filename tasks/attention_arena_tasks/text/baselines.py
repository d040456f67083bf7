"""What bytes alone and words alone say of a text's class, without any model.

Naive Bayes over the words of IMDb's reviews is far above every score that the Long Range Arena published for the task,
whose models read bytes; the one over bytes shows what the distribution of letters gives away.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_arena.byte_text import N_IDS, text_of
from attention_arena.splits import ExampleSplit

EXAMPLES_AT_ONCE = 1024
Guesses = npt.NDArray[np.bool_]
WORD = re.compile(rb"[a-z0-9_']+")


def trivial_baselines(train: ExampleSplit, test: ExampleSplit) -> dict[str, float]:
    """Return accuracies in percent on `test` of rules fitted on `train`, both of two classes: name -> value."""
    majority = np.full(test.n_examples, np.bincount(train.targets, minlength=2).argmax())
    guesses = {
        "majority class": majority,
        "bytes, naive Bayes": byte_bayes(train, test),
        "words, naive Bayes": word_bayes(train, test),
    }
    return {name: 100 * float((guess == test.targets).mean()) for name, guess in guesses.items()}


def byte_bayes(train: ExampleSplit, test: ExampleSplit) -> Guesses:
    """Return whether class 1 is likelier (N,) given how often each byte occurs: multinomial, one added to each."""
    counts = np.ones((2, N_IDS))
    for histograms, targets in zip(_histograms(train), _chunks(train.targets), strict=True):
        for label in range(2):
            counts[label] += histograms[targets == label].sum(axis=0)
    odds = np.diff(np.log(counts / counts.sum(axis=1, keepdims=True)), axis=0)[0]
    prior = _prior(train)
    return np.concatenate([histograms @ odds + prior > 0 for histograms in _histograms(test)])


def word_bayes(train: ExampleSplit, test: ExampleSplit) -> Guesses:
    """Return whether class 1 is likelier (N,) given which words occur, each once: multinomial, one added to each."""
    counts: tuple[Counter[bytes], Counter[bytes]] = (Counter(), Counter())
    for words, label in zip(_words(train), train.targets.tolist(), strict=True):
        counts[label].update(words)
    known = counts[0].keys() | counts[1].keys()
    totals = [count.total() + len(known) for count in counts]
    base = math.log(totals[0] / totals[1])
    # Whole numbers, whose sum does not hang on the order of a set, which differs from process to process.
    odds = {word: round(2**32 * (math.log((counts[1][word] + 1) / (counts[0][word] + 1)) + base)) for word in known}
    prior = round(2**32 * _prior(train))
    return np.array([prior + sum(map(odds.__getitem__, words & known)) > 0 for words in _words(test)])


def _histograms(split: ExampleSplit) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each id occurs in each of the next examples (n, 257)."""
    for starts, stops in zip(_chunks(split.offsets[:-1]), _chunks(split.offsets[1:]), strict=True):
        rows = np.repeat(np.arange(len(starts)), stops - starts)
        joint = rows * N_IDS + split.tokens[starts[0] : stops[-1]]
        yield np.bincount(joint, minlength=len(starts) * N_IDS).reshape(-1, N_IDS)


def _chunks(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(array), EXAMPLES_AT_ONCE):
        yield array[start : start + EXAMPLES_AT_ONCE]


def _prior(train: ExampleSplit) -> float:
    n_first, n_second = np.bincount(train.targets, minlength=2).tolist()
    return math.log((n_second + 1) / (n_first + 1))


def _words(split: ExampleSplit) -> Iterator[set[bytes]]:
    """Yield the words of each example, in lower case."""
    for start, stop in zip(split.offsets[:-1].tolist(), split.offsets[1:].tolist(), strict=True):
        yield set(WORD.findall(text_of(split.tokens[start:stop]).lower()))
