"""What ListOps gives to a reader of an expression's outermost operator alone, without any model.

Half of the scores published for the Long Range Arena's ListOps are no better than the second of these, and most of the
other half equal the first, so they stand beside every score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from attention_arena.splits import ExampleSplit
from attention_arena_tasks.listops.expressions import CLOSE, FIRST_DIGIT, FIRST_OPERATOR, N_CLASSES, OPERATORS

EXAMPLES_AT_ONCE = 4096

Example = tuple[tuple[int, int | None], int]
"""What a rule may see of an expression, and its class."""


def trivial_baselines(train: ExampleSplit, test: ExampleSplit) -> dict[str, float]:
    """Return accuracies in percent on `test` of rules fitted on `train`: name -> value."""
    fitting = list(zip(_views(train), train.targets.tolist(), strict=True))
    scoring = list(zip(_views(test), test.targets.tolist(), strict=True))
    rules = {"majority class": 0, "first operator": 1, "first operator and its own digits": 2}
    return {name: _accuracy(fitting, scoring, n_known) for name, n_known in rules.items()}


def _views(split: ExampleSplit) -> Iterator[tuple[int, int | None]]:
    """Yield for each example its first token, and that operator's value on the digits that are its own arguments."""
    for start in range(0, split.n_examples, EXAMPLES_AT_ONCE):
        bounds = split.offsets[start : start + EXAMPLES_AT_ONCE + 1]
        tokens = split.tokens[bounds[0] : bounds[-1]]
        first = tokens[bounds[:-1] - bounds[0]].tolist()
        opens = ((tokens >= FIRST_OPERATOR) & (tokens < CLOSE)).astype(np.int64)
        depth = np.cumsum(opens - (tokens == CLOSE))
        places = np.flatnonzero((depth == 1) & (tokens < FIRST_OPERATOR))
        digits = (tokens[places] - FIRST_DIGIT).tolist()
        cuts = np.searchsorted(places, bounds - bounds[0]).tolist()
        for token, left, right in zip(first, cuts[:-1], cuts[1:], strict=True):
            yield token, OPERATORS[token - FIRST_OPERATOR](digits[left:right]) if right > left else None


def _accuracy(fitting: Sequence[Example], scoring: Sequence[Example], n_known: int) -> float:
    """Return the percentage of `scoring` guessed right when each view, as far as its first `n_known` parts go, is given
    its commonest class in `fitting`; a view that never occurred there gets the commonest class of all.
    """
    overall = [0] * N_CLASSES
    counts: defaultdict[tuple[int | None, ...], list[int]] = defaultdict(lambda: [0] * N_CLASSES)
    for view, target in fitting:
        counts[view[:n_known]][target] += 1
        overall[target] += 1
    guesses = {known: tally.index(max(tally)) for known, tally in counts.items()}
    fallback = overall.index(max(overall))
    right = sum(guesses.get(view[:n_known], fallback) == target for view, target in scoring)
    return 100.0 * right / len(scoring)
