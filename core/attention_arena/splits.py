"""Two ways to read a split: ragged labelled examples, and one contiguous stream of tokens.

Both sit on numpy arrays, memory-mapped when they come from disk, and read the same batches for the same arguments on
every machine: order is drawn from a bit generator's raw stream, which NumPy keeps fixed between its versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from attention_arena.task import Batch, Split

Tokens = npt.NDArray[Any]
"""Token ids in any integer type; uint8 and uint16 keep files small."""

PAD = 0


def content_hash(*arrays: Tokens) -> str:
    """Return the SHA-256 of the arrays' types, shapes and values, in little-endian order."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.name}{little.shape}".encode())
        digest.update(little.data)
    return digest.hexdigest()


def index_batches(n_examples: int, batch_size: int, order_seed: int | None) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the examples of each batch of one pass: in order, or shuffled and in full batches (`Split.batches`)."""
    order = np.arange(n_examples) if order_seed is None else _shuffled(n_examples, order_seed)
    stop = n_examples
    if order_seed is not None and n_examples >= batch_size:
        stop -= n_examples % batch_size
    for start in range(0, stop, batch_size):
        yield order[start : min(start + batch_size, stop)]


def padded_rows(
    tokens: Tokens, offsets: Tokens, indices: npt.NDArray[np.int64], pad_to: int | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the sequences `indices` (B,) as rows (B, T), padded to the longest or to `pad_to`, and their mask.

    Sequence i is `tokens[offsets[i]:offsets[i + 1]]`. The mask (B, T) is True at tokens, or None if nothing is padded.
    """
    starts, stops = offsets[indices], offsets[indices + 1]
    lengths = stops - starts
    T = pad_to or max(1, int(lengths.max()))
    rows = np.full((len(indices), T), PAD, dtype=np.int64)
    for row, start, stop, length in zip(rows, starts, stops, lengths, strict=True):
        row[:length] = tokens[start:stop]
    valid = torch.from_numpy(np.arange(T) < lengths[:, None]) if lengths.min() < T else None
    return torch.from_numpy(rows), valid


class ExampleSplit(Split):
    """Labelled sequences of unequal length; a batch is padded with id 0 to its longest, or to `pad_to`.

    Example i is `tokens[offsets[i]:offsets[i + 1]]` with class `targets[i]`.
    """

    def __init__(
        self,
        tokens: Tokens,
        offsets: Tokens,
        targets: Tokens,
        pad_to: int | None = None,
        known_hash: str | None = None,
    ) -> None:
        if len(offsets) != len(targets) + 1 or offsets[0] != 0 or offsets[-1] != len(tokens):
            raise ValueError(
                f"offsets must run from 0 to {len(tokens)} in {len(targets) + 1} steps, got {len(offsets)} "
                f"from {offsets[0] if len(offsets) else 'none'} to {offsets[-1] if len(offsets) else 'none'}"
            )
        lengths = np.diff(offsets)
        if len(lengths) and lengths.min() < 1:
            raise ValueError(f"every example needs a token, but example {int(lengths.argmin())} has none")
        longest = int(lengths.max(initial=0))
        if pad_to is not None and longest > pad_to:
            raise ValueError(f"pad_to must be at least the longest example ({longest}), got {pad_to}")
        self.tokens, self.offsets, self.targets, self.pad_to = tokens, offsets, targets, pad_to
        self.n_examples = len(targets)
        self.longest = longest
        self.content_hash = known_hash or content_hash(tokens, offsets, targets)

    def save(self, folder: Path, name: str) -> None:
        """Write the split to `folder` as `name`.*."""
        for part in ("tokens", "offsets", "targets"):
            np.save(folder / f"{name}.{part}.npy", getattr(self, part))
        (folder / f"{name}.json").write_text(json.dumps({"content_hash": self.content_hash}))

    @classmethod
    def open(cls, folder: Path, name: str, pad_to: int | None = None) -> ExampleSplit:
        """Return the split that `save` wrote, memory-mapped."""
        tokens, offsets, targets = (
            np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("tokens", "offsets", "targets")
        )
        known = json.loads((folder / f"{name}.json").read_text())["content_hash"]
        return cls(tokens, offsets, targets, pad_to, known)

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass, in order, or shuffled and in full batches."""
        for indices in index_batches(self.n_examples, batch_size, order_seed):
            tokens, valid = padded_rows(self.tokens, self.offsets, indices, self.pad_to)
            targets = torch.from_numpy(self.targets[indices].astype(np.int64))  # (B,)
            yield Batch(tokens, targets, valid)


class Stream(NamedTuple):
    """The text that a split is read from, each token of which predicts the next."""

    tokens: Tokens
    """Ids (N,)."""
    unrelated: str | None = None
    """What the text is made of where its parts say nothing of each other (`shuffled sentences`); else None."""


@runtime_checkable
class Streamed(Protocol):
    """A split whose examples are one text."""

    @property
    def stream(self) -> Stream:
        """The text."""


def stream_of(split: Split) -> Stream | None:
    """Return the text that a split is read from, or None where its examples are texts of their own."""
    return split.stream if isinstance(split, Streamed) else None


class StreamSplit(Split):
    """A stream of tokens of which each predicts the next, read in `length` tokens of B parallel rows at a time.

    Row b of a batch continues row b of the batch before. In order, the rows cut the stream into equal parts, and every
    token but the first is predicted exactly once; where rows end unequally, by at most one token, the last batch says
    so in `scored`. With a seed, the stream is read as a ring from a random start, in batches that are all full; the one
    step from its end to its beginning is not scored. A stream shorter than a batch is read in fewer rows.
    `unrelated`: see `Stream`.
    """

    def __init__(
        self, tokens: Tokens, length: int, known_hash: str | None = None, unrelated: str | None = None
    ) -> None:
        if len(tokens) < 2:
            raise ValueError(f"a stream needs at least 2 tokens, so that one predicts the other, got {len(tokens)}")
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.tokens, self.length, self.unrelated = tokens, length, unrelated
        self.n_examples = len(tokens) - 1
        self.content_hash = known_hash or content_hash(tokens)

    @property
    def stream(self) -> Stream:
        """The text."""
        return Stream(self.tokens, self.unrelated)

    def save(self, folder: Path, name: str) -> None:
        """Write the stream to `folder` as `name`.*."""
        np.save(folder / f"{name}.tokens.npy", self.tokens)
        (folder / f"{name}.json").write_text(json.dumps({"content_hash": self.content_hash}))

    @classmethod
    def open(cls, folder: Path, name: str, length: int, unrelated: str | None = None) -> StreamSplit:
        """Return the stream that `save` wrote, memory-mapped."""
        tokens = np.load(folder / f"{name}.tokens.npy", mmap_mode="r")
        return cls(tokens, length, json.loads((folder / f"{name}.json").read_text())["content_hash"], unrelated)

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass, in order from the first token, or from a random start."""
        N = len(self.tokens)
        n_segments = N // (batch_size * self.length)
        if order_seed is not None and n_segments > 0:
            start, n_rows, n_predicted = _start(N, order_seed), batch_size, n_segments * batch_size * self.length
        else:
            start = 0 if order_seed is None else _start(N, order_seed)
            n_predicted = N - 1
            n_rows = min(batch_size, -(-n_predicted // self.length))
        bounds = np.arange(n_rows + 1) * n_predicted // n_rows
        for done in range(0, int(np.diff(bounds).max()), self.length):
            yield self._segment(start, bounds, done)

    def _segment(self, start: int, bounds: npt.NDArray[np.int64], done: int) -> Batch:
        """Return tokens `done` and on of every row; row b is predictions `bounds[b]` to `bounds[b + 1]`."""
        N = len(self.tokens)
        left = np.diff(bounds) - done
        T = min(self.length, int(left.max()))
        steps = bounds[:-1, None] + done + np.arange(T + 1)
        positions = (start + steps) % N  # (B, T + 1)
        window = torch.from_numpy(self.tokens[positions].astype(np.int64))
        scored = (np.arange(T) < left[:, None]) & (positions[:, :-1] != N - 1)
        resumes = torch.full((len(left),), done > 0)
        return Batch(
            window[:, :-1].contiguous(),
            window[:, 1:].contiguous(),
            scored=None if scored.all() else torch.from_numpy(scored),
            resumes=resumes,
        )


def _shuffled(n: int, seed: int) -> npt.NDArray[np.int64]:
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def _start(n: int, seed: int) -> int:
    return int(np.random.PCG64(seed).random_raw()) % n
