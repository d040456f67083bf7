"""A split of pairs of sequences, drawn from documents that are stored once however many pairs they are in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from attention_arena.splits import Tokens, content_hash, index_batches, padded_rows
from attention_arena.task import Batch, Split

PARTS = ("tokens", "offsets", "pairs", "targets")


class PairSplit(Split):
    """Labelled pairs of documents; a batch (B, 2, T) is padded with id 0 to its longest document, or to `pad_to`.

    Document d is `tokens[offsets[d]:offsets[d + 1]]` and may be empty; pair i is the documents `pairs[i]` (2,) with
    class `targets[i]`.
    """

    def __init__(
        self,
        tokens: Tokens,
        offsets: Tokens,
        pairs: Tokens,
        targets: Tokens,
        pad_to: int | None = None,
        known_hash: str | None = None,
    ) -> None:
        n_documents = len(offsets) - 1
        if n_documents < 0 or offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets must rise from 0 to {len(tokens)}, the number of tokens")
        if pairs.shape != (len(targets), 2):
            raise ValueError(f"pairs must be ({len(targets)}, 2), one for each target, got {pairs.shape}")
        if len(pairs) and (pairs.min() < 0 or pairs.max() >= n_documents):
            raise ValueError(f"pairs must name documents 0 to {n_documents - 1}, got {pairs.min()} to {pairs.max()}")
        longest = int(np.diff(offsets).max(initial=0))
        if pad_to is not None and longest > pad_to:
            raise ValueError(f"pad_to must be at least the longest document ({longest}), got {pad_to}")
        self.tokens, self.offsets, self.pairs, self.targets, self.pad_to = tokens, offsets, pairs, targets, pad_to
        self.n_examples = len(targets)
        self.longest = longest
        self.content_hash = known_hash or content_hash(tokens, offsets, pairs, targets)

    def save(self, folder: Path, name: str) -> None:
        """Write the split to `folder` as `name`.*."""
        for part in PARTS:
            np.save(folder / f"{name}.{part}.npy", getattr(self, part))
        (folder / f"{name}.json").write_text(json.dumps({"content_hash": self.content_hash}))

    @classmethod
    def open(cls, folder: Path, name: str, pad_to: int | None = None) -> PairSplit:
        """Return the split that `save` wrote, memory-mapped."""
        tokens, offsets, pairs, targets = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in PARTS)
        known = json.loads((folder / f"{name}.json").read_text())["content_hash"]
        return cls(tokens, offsets, pairs, targets, pad_to, known)

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass, in order, or shuffled and in full batches."""
        for indices in index_batches(self.n_examples, batch_size, order_seed):
            documents = self.pairs[indices].astype(np.int64).reshape(-1)  # (2 B,)
            tokens, valid = padded_rows(self.tokens, self.offsets, documents, self.pad_to)
            targets = torch.from_numpy(self.targets[indices].astype(np.int64))  # (B,)
            B, T = len(indices), tokens.shape[1]
            yield Batch(tokens.view(B, 2, T), targets, None if valid is None else valid.view(B, 2, T))
