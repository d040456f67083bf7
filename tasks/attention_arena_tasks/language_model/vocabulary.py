"""Vocabularies of words or characters: a training split's, ranked by frequency, so that they are the same for everyone.

Rank 0 is the commonest token; equally common ones are in the order of their UTF-8 bytes. That is the order in which an
adaptive softmax wants them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

EOS = "<eos>"
"""The end of a line."""
UNKNOWN = "<unk>"
"""A word that is not in the vocabulary; the published corpora have it in their files."""
UNKNOWN_CHARACTER = "\ufffd"
"""Unicode's own mark of a character that cannot be shown."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, how often each occurs in the whole training split, and how many bytes of text each stands for."""

    tokens: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    n_bytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the tokens in their order, hexadecimal."""
        return hashlib.sha256(json.dumps(self.tokens).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the vocabulary to `folder`."""
        (folder / "vocabulary.json").write_text(json.dumps(self.tokens))
        np.save(folder / "vocabulary.counts.npy", self.counts)
        np.save(folder / "vocabulary.bytes.npy", self.n_bytes)

    @classmethod
    def open(cls, folder: Path) -> Vocabulary:
        """Return the vocabulary that `save` wrote."""
        tokens = tuple(json.loads((folder / "vocabulary.json").read_text()))
        return cls(tokens, np.load(folder / "vocabulary.counts.npy"), np.load(folder / "vocabulary.bytes.npy"))


def ranked(counts: Counter[str], elsewhere: Iterable[str], min_count: int, unknown: str) -> dict[str, int]:
    """Return the tokens of `counts` that occur `min_count` times or more, with their counts, by rank.

    `unknown` stands for the others. Where it occurs in no training text, it is added only if it is needed: for rarer
    tokens, or for tokens `elsewhere` (of the other splits) that are not in `counts`.
    """
    kept = {token: count for token, count in counts.items() if count >= min_count or token == unknown}
    n_rare = counts.total() - sum(kept.values())
    if n_rare or any(token not in kept for token in elsewhere):
        kept[unknown] = kept.get(unknown, 0) + n_rare
    return dict(sorted(kept.items(), key=lambda item: (-item[1], item[0].encode())))
