"""Which blocks of pairs Longformer's flex_attention looks at, and that no matrix of all pairs is made to find out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from attention_arena_variants.longformer.flex import BLOCK, attend_flex, window_mask, window_rule
from attention_arena_variants.longformer.pattern import Pattern

CPU = torch.device("cpu")

DIRECTIONS = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
LENGTHS = pytest.mark.parametrize("T", [1, 127, 128, 129, 300, 512])
WINDOWS = pytest.mark.parametrize(
    ("window", "dilations"), [(2, (1, 1)), (128, (1, 1)), (300, (1, 3)), (700, (2, 2)), (6, (200, 1)), (4, (128, 127))]
)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def by_all_pairs(pattern: Pattern, T: int, valid: Tensor | None = None, marked: Tensor | None = None) -> BlockMask:
    """Return what PyTorch finds by trying every pair, for each head of each row."""
    rule = window_rule(pattern, CPU, valid, marked)
    rows = None if valid is None and marked is None else 2
    return create_block_mask(rule, rows, len(pattern.dilations), T, T, device="cpu")


def looked_at(mask: BlockMask) -> Tensor:
    """Return the blocks that are computed, (B, H, N, N) bool."""
    return mask.to_dense().bool()


def taken_whole(mask: BlockMask) -> Tensor:
    """Return the blocks that are computed without asking the rule, (B, H, N, N) bool."""
    assert mask.full_kv_num_blocks is not None
    return looked_at(BlockMask.from_kv_blocks(mask.full_kv_num_blocks, mask.full_kv_indices))  # type: ignore[arg-type]


@WINDOWS
@LENGTHS
@DIRECTIONS
def test_blocks_of_the_window_are_those_that_all_pairs_give(
    window: int, dilations: tuple[int, ...], T: int, causal: bool
) -> None:
    pattern = Pattern(window, dilations, causal)
    found, expected = window_mask(pattern, T, CPU), by_all_pairs(pattern, T)
    assert (looked_at(found) == looked_at(expected)).all()
    assert (taken_whole(found) == taken_whole(expected)).all()


@DIRECTIONS
def test_the_mask_is_pytorchs_own_in_every_part(causal: bool) -> None:
    """Lists of blocks for forward and backward, in their order and types."""
    pattern = Pattern(300, (1, 3), causal)
    found, expected = (mask.as_tuple()[:-1] for mask in (window_mask(pattern, 700, CPU), by_all_pairs(pattern, 700)))
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, Tensor):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        else:
            assert ours == theirs


@WINDOWS
@DIRECTIONS
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("landmarks", [False, True], ids=["no landmarks", "landmarks"])
def test_no_pair_of_a_batch_is_lost_and_none_is_taken_unasked(
    window: int, dilations: tuple[int, ...], causal: bool, padded: bool, landmarks: bool
) -> None:
    T, pattern = 600, Pattern(window, dilations, causal)
    valid = torch.arange(T) < torch.tensor([T, 250])[:, None] if padded else None
    marked = None
    if landmarks:
        marked = torch.zeros(2, T, dtype=torch.bool)
        marked[0, [0, 400]] = marked[1, 130] = True
    found, exact = window_mask(pattern, T, CPU, valid, marked), by_all_pairs(pattern, T, valid, marked)
    assert not (looked_at(exact) & ~looked_at(found)).any()
    assert not (taken_whole(found) & ~taken_whole(exact)).any()


def test_blocks_of_padding_are_passed_over() -> None:
    valid = torch.arange(600) < torch.tensor([600, 250])[:, None]
    whole, short = looked_at(window_mask(Pattern(1200, (1, 1), False), 600, CPU, valid))[:, 0]
    assert whole.all()
    assert short[:, :2].all()
    assert not short[:, 2:].any()


class Made(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.n_bytes += sum(leaf.nbytes for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor))
        return out


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_no_matrix_of_all_pairs_is_made(padded: bool) -> None:
    """A block is 16,384 pairs; all that is made of the blocks, views and all, is a fiftieth of a byte for each pair."""
    T = 16384
    valid = torch.ones(1, T, dtype=torch.bool) if padded else None
    with Made() as made:
        window_mask(Pattern(512, (1, 1), False), T, CPU, valid)
    assert 0 < made.n_bytes < T * T / 50


def test_narrow_heads_are_refused_where_no_kernel_takes_them() -> None:
    with pytest.raises(ValueError, match=r"heads of 16 numbers or more \(d_model / n_heads\), got 8; use fewer heads"):
        attend_flex(torch.zeros(1, BLOCK, 3, 2, 8, device="meta"), Pattern(2, (1, 1), False))
