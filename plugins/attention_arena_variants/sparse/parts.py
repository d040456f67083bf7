"""Which parts a call computes: those of its pattern, laid out once for all sequences of a length without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import Part, add_where, processor_of
from attention_arena_variants.sparse.pattern import Frame, Pattern

AT_ONCE = 2**18
"""Numbers of the queries of one part, about, on a CPU: more fall out of the cache, fewer are many small products."""
LAYOUTS_KEPT = 16
"""Layouts that are remembered: laying out costs as much as a short sequence's products. Their masks are of blocks."""


class Plan(NamedTuple):
    """Parts, in sequences of `length` tokens, with those that fill them up."""

    parts: Sequence[Part]
    length: int


def lay_out(pattern: Pattern, heads: Tensor, valid: Tensor | None) -> Plan:
    """Return the parts of `heads` (B, T, H, E) with keys in `valid` (B, T); None means all.

    On a CPU some sequences at a time, whose blocks are views and whose temporaries stay in the cache.
    """
    B, T, H, E = heads.shape
    pattern = pattern.narrowed(T)
    length = pattern.padded(T)
    n_tokens = max(1, AT_ONCE // (H * E)) if processor_of(heads) == "cpu" else B * length
    at_once = max(1, n_tokens // length)
    span = max(1, n_tokens // at_once)
    work = torch.promote_types(heads.dtype, torch.float32)
    if length > T and not pattern.causal and valid is None:  # Causal queries come before what is padded.
        valid = torch.ones(B, T, dtype=torch.bool, device=heads.device)
    if valid is not None:
        valid = functional.pad(valid, (0, length - T))
    # Compilers warn of a memory that they do not use.
    alike = lay_out_alike.__wrapped__ if torch.compiler.is_compiling() else lay_out_alike
    parts: list[Part] = []
    for start in range(0, B, at_once):
        some = slice(start, start + at_once)
        if valid is None:
            own = alike(pattern, length, span, heads.device, work)
        else:
            own = pattern.parts(Frame(length, span, valid[some], heads.device))
        parts += own if at_once >= B else [part._replace(sequences=some) for part in own]
    return Plan(parts, length)


@lru_cache(LAYOUTS_KEPT)
@torch.inference_mode(False)  # backward reads the masks again
def lay_out_alike(pattern: Pattern, length: int, span: int, device: torch.device, work: torch.dtype) -> list[Part]:
    """Return the parts of sequences in which every token is real, with what is added to scores of type `work`."""
    parts = pattern.parts(Frame(length, span, None, device))
    masks = {id(part.allowed): part.allowed for part in parts}  # many parts have the same
    added = {key: None if allowed is None else add_where(~allowed, work) for key, allowed in masks.items()}
    return [part._replace(allowed=added[id(part.allowed)]) for part in parts]
