"""The language of ListOps: a fixed vocabulary, a reader of its text, and an evaluator.

An expression is `[MAX 4 3 [MIN 2 3 ] 1 ]`: an operator, its arguments, a close; arguments are digits or expressions.
The ids below are part of the task: they depend on no file, no process and no hash seed, so that a model trained in one
process can be tested in another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

VOCABULARY = ("<pad>", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]")
FIRST_DIGIT = 1
FIRST_OPERATOR = 11
CLOSE = 15
N_CLASSES = 10


def median(digits: Sequence[int]) -> int:
    """Return the median; of an even count the mean of the middle two, its half cut off."""
    ranked = sorted(digits)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) // 2


OPERATORS: tuple[Callable[[Sequence[int]], int], ...] = (
    min,
    max,
    median,
    lambda digits: sum(digits) % 10,
)
"""What the operators do, in the vocabulary's order."""

_IDS = {symbol.encode(): token for token, symbol in enumerate(VOCABULARY) if token}


def parse(text: str | bytes) -> npt.NDArray[np.uint8]:
    """Return the token ids (T,) of an expression; the parentheses of the LRA's files carry nothing and are dropped.

    Raises ValueError with the first word that is not in the vocabulary, or with what is wrong with the brackets.
    """
    raw = text.encode() if isinstance(text, str) else text
    try:
        tokens = np.array([_IDS[word] for word in raw.translate(None, b"()").split()], dtype=np.uint8)
    except KeyError as error:
        stranger = error.args[0][:20].decode(errors="replace")
        raise ValueError(f"{stranger!r} is not one of {' '.join(VOCABULARY[1:])}") from None
    check_brackets(tokens)
    return tokens


def check_brackets(tokens: npt.NDArray[np.uint8]) -> None:
    """Raise ValueError unless `tokens` (T,) are one whole expression."""
    if not len(tokens):
        raise ValueError("the expression is empty")
    opens = (tokens >= FIRST_OPERATOR) & (tokens < CLOSE)
    depth = np.cumsum(opens.astype(np.int64) - (tokens == CLOSE))
    if len(tokens) == 1 and not opens[0] and tokens[0] != CLOSE:
        return
    if depth[-1] != 0 or (depth[:-1] < 1).any():
        place = int(np.argmax(depth < 1))
        raise ValueError(
            f"the brackets do not match: {int(opens.sum())} operators, {int((tokens == CLOSE).sum())} closes, "
            f"the first expression ends at symbol {place + 1} of {len(tokens)}"
        )
    if (opens[:-1] & (tokens[1:] == CLOSE)).any():
        raise ValueError("an operator has no argument")


def evaluate(tokens: Sequence[int] | npt.NDArray[np.uint8]) -> int:
    """Return the value of an expression, 0 to 9; `tokens` must be whole, as `parse` makes sure."""
    open_operators: list[int] = []
    arguments: list[list[int]] = [[]]
    for token in tokens.tolist() if isinstance(tokens, np.ndarray) else tokens:
        if token < FIRST_OPERATOR:
            arguments[-1].append(token - FIRST_DIGIT)
        elif token < CLOSE:
            open_operators.append(token - FIRST_OPERATOR)
            arguments.append([])
        else:
            value = OPERATORS[open_operators.pop()](arguments.pop())
            arguments[-1].append(value)
    return arguments[0][0]
