"""What a pattern is: two sets of keys for each query, of which a head attends to one or to both.

Child et al. 2019, section 4.2, write A1 and A2. A1 is `near`, the tokens around the query; A2 is `far`, a thin set that
carries what the tokens near elsewhere have gathered. A pattern says which pairs it allows, one by one, which is the
specification; and which dense products cover the same pairs, which is the fast form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import Blocks, Layout, Part, Tiling


class Frame(NamedTuple):
    """The sequences for which a pattern lays out its parts.

    - `length`: tokens with what is padded, a multiple of the pattern's `unit`.
    - `span`: tokens of a sequence whose queries one part holds, about; small ones reuse memory that is in the cache.
    - `valid` (B, length) bool: keys that count; None means all.
    """

    length: int
    span: int
    valid: Tensor | None
    device: torch.device

    def positions(self, stop: int) -> Tensor:
        """Return positions 0 to `stop` - 1."""
        return torch.arange(stop, device=self.device)

    def spans(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of consecutive spans, each of whole blocks of `size` tokens."""
        step = size * max(1, self.span // size)
        for start in range(0, self.length, step):
            yield start, min(start + step, self.length)

    def part(self, queries: Tiling, keys: Layout, allowed: Tensor | None = None, *, tiles: bool = False) -> Part:
        """Return a part whose pairs are those of `allowed` (P, Q) with a key that counts."""
        if self.valid is None:
            return Part(queries, keys, allowed, tiles)
        counts = keys.take(self.valid[..., None, None])[..., 0, 0]  # (N, Q)
        counts = counts[:, None, None]
        return Part(queries, keys, counts if allowed is None else allowed & counts, tiles)


@dataclass(frozen=True)
class Pattern:
    """The sets of keys of one head: `near` (A1 in the paper), `far` (A2), or the union of both in one softmax.

    `stride` (l) is the length of a block, or the distance of two keys in the far set. Not causal is ours: the paper's
    sets without their bound at the query.
    """

    stride: int
    causal: bool
    near: bool
    far: bool

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """Return which pairs count, bool, for positions that broadcast: the specification."""
        raise NotImplementedError(f"{type(self).__name__} has no allows")

    def recalls(self, position: int, key: Tensor) -> Tensor:
        """Return which of the earlier positions `key` (S,) a query at `position`, or any after it, can attend to."""
        raise NotImplementedError(f"{type(self).__name__} has no recalls")

    def narrowed(self, length: int) -> Pattern:
        """Return a pattern that allows the same pairs in sequences of `length` tokens, with less work."""
        return self

    def unit(self, length: int) -> int:
        """Return what the length of sequences must be a multiple of, given their number of tokens."""
        raise NotImplementedError(f"{type(self).__name__} has no unit")

    def padded(self, length: int) -> int:
        """Return the tokens of a sequence of `length` with those that fill it up to a multiple of `unit`."""
        return length + -length % self.unit(length)

    def parts(self, frame: Frame) -> list[Part]:
        """Return parts that hold each allowed pair of `frame` exactly once."""
        raise NotImplementedError(f"{type(self).__name__} has no parts")


def inside_blocks(frame: Frame, size: int, allowed: Tensor | None) -> list[Part]:
    """Return the parts in which blocks of `size` attend to themselves; `allowed` (size, size) is that of each.

    They tile the sequence, so they come first.
    """
    blocks = [Blocks(size, start, stop) for start, stop in frame.spans(size)]
    return [frame.part(each, each, allowed, tiles=True) for each in blocks]
