"""A split of rows of one length, in each of which some places are to be predicted, and how distinct rows are drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from attention_arena.splits import Tokens, content_hash, index_batches
from attention_arena.task import Batch, Split, TaskError

PARTS = ("tokens", "places", "answers")
FRUITLESS_DRAWS = 50
"""Draws without a new row after which there is none to be found."""


class Rows(NamedTuple):
    """Rows as `RowSplit` takes them: `tokens` (N, T), `places` (N, P) or (P,), `answers` (N, P)."""

    tokens: Tokens
    places: Tokens
    answers: Tokens

    def where(self, keep: npt.NDArray[np.bool_] | slice) -> Rows:
        """Return the rows that `keep` (N,) marks, or the slice of them that it is."""
        places = self.places if self.places.ndim == 1 else self.places[keep]
        return Rows(self.tokens[keep], places, self.answers[keep])


class RowSplit(Split):
    """N sequences of T tokens with P scored targets each: at `places[i, p]` of row i, `answers[i, p]` is right.

    `tokens` (N, T) and `answers` (N, P) hold token ids; `places` is (N, P), or (P,) where all rows share them, and
    names no place twice. Rows know nothing of each other. A batch's targets are 0 where nothing is scored.
    """

    def __init__(self, tokens: Tokens, places: Tokens, answers: Tokens, known_hash: str | None = None) -> None:
        if known_hash is None:
            _require_fit(tokens, places, answers)
        self.tokens, self.places, self.answers = tokens, places, answers
        self.n_examples = answers.size
        self.content_hash = known_hash or content_hash(tokens, places, answers)

    def save(self, folder: Path, name: str) -> None:
        """Write the split to `folder` as `name`.*."""
        for part in PARTS:
            np.save(folder / f"{name}.{part}.npy", getattr(self, part))
        (folder / f"{name}.json").write_text(json.dumps({"content_hash": self.content_hash}))

    @classmethod
    def open(cls, folder: Path, name: str) -> RowSplit:
        """Return the split that `save` wrote, memory-mapped."""
        tokens, places, answers = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in PARTS)
        return cls(tokens, places, answers, json.loads((folder / f"{name}.json").read_text())["content_hash"])

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass, in order, or shuffled and in full batches."""
        for rows in index_batches(len(self.tokens), batch_size, order_seed):
            yield self._collate(rows)

    def _collate(self, rows: npt.NDArray[np.int64]) -> Batch:
        tokens = self.tokens[rows].astype(np.int64)  # (B, T)
        answers = self.answers[rows].astype(np.int64)  # (B, P)
        places = self.places if self.places.ndim == 1 else self.places[rows]
        places = np.broadcast_to(places.astype(np.int64), answers.shape)
        targets, scored = np.zeros_like(tokens), np.zeros(tokens.shape, dtype=bool)
        np.put_along_axis(targets, places, answers, axis=1)
        np.put_along_axis(scored, places, True, axis=1)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), scored=torch.from_numpy(scored))


def _require_fit(tokens: Tokens, places: Tokens, answers: Tokens) -> None:
    """Raise ValueError unless the arrays agree with each other."""
    N, T = tokens.shape
    if len(answers) != N or places.shape not in (answers.shape, answers.shape[1:]) or not answers.size:
        raise ValueError(
            f"expected answers (N, P) and places (N, P) or (P,) for tokens {tokens.shape}, with P from 1 up, "
            f"got {answers.shape} and {places.shape}"
        )
    ordered = np.sort(places.astype(np.int64), axis=-1)
    if ordered.min() < 0 or ordered.max() >= T:
        raise ValueError(f"places must lie in 0 to {T - 1}, got {ordered.min()} to {ordered.max()}")
    if (np.diff(ordered, axis=-1) == 0).any():
        raise ValueError("a row names a place twice")


def draw_distinct(draw: Callable[[], Rows], wanted: Mapping[str, int]) -> dict[str, RowSplit]:
    """Return splits of the wanted sizes, in that order, from the rows that `draw` gives, each sequence once in all.

    Raises TaskError where `draw` brings nothing new any more.
    """
    seen: set[bytes] = set()  # asked for membership alone, so its order never matters
    drawn: list[Rows] = []
    n_wanted, fruitless = sum(wanted.values()), 0
    while len(seen) < n_wanted:
        rows = draw()
        keep = np.zeros(len(rows.tokens), dtype=bool)
        for i, row in enumerate(rows.tokens):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            keep[i] = digest not in seen
            seen.add(digest)
        fruitless = 0 if keep.any() else fruitless + 1
        if fruitless == FRUITLESS_DRAWS:
            raise TaskError(
                f"only {len(seen)} distinct sequences were found, but {n_wanted} are asked for: make them longer, or "
                "their vocabulary larger, or ask for fewer"
            )
        drawn.append(rows.where(keep))
    return _cut(drawn, wanted)


def _cut(drawn: list[Rows], wanted: Mapping[str, int]) -> dict[str, RowSplit]:
    """Return consecutive splits of the wanted sizes."""
    shared = drawn[0].places.ndim == 1
    places = drawn[0].places if shared else np.concatenate([rows.places for rows in drawn])
    every = Rows(
        np.concatenate([rows.tokens for rows in drawn]), places, np.concatenate([rows.answers for rows in drawn])
    )
    splits, start = {}, 0
    for name, n in wanted.items():
        splits[name] = RowSplit(*every.where(slice(start, start + n)))
        start += n
    return splits
