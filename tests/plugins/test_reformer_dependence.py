"""What Reformer's outputs depend on: later tokens through the sort alone, padding not at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import REFORMER
from attention_arena_variants.reformer.attention import ReformerAttention
from attention_arena_variants.reformer.options import ReformerOptions

H, E = 2, 6
D = H * E

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(causal: bool = False, shape: dict[str, Any] | None = None, **options: Any) -> ReformerAttention:
    size = {"d_model": D, "n_heads": H, "max_length": 16} | (shape or {})
    chosen = ReformerOptions(**({"bucket_size": 4} | options))
    return ReformerAttention(ModelShape(causal=causal, **size), chosen).double()


def half_padded(T: int) -> Tensor:
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, (T + 1) // 2 :] = False
    return valid


def changed_after(x: Tensor, t: int) -> Tensor:
    later = torch.randn_like(x)
    return torch.cat([x[:, : t + 1], 5 * later[:, t + 1 :]], dim=1)


def largest_leak(attention: ReformerAttention, x: Tensor, replay: Tensor | None = None) -> float:
    """Largest change of an output when every later input is replaced."""
    expected = attention(x, Context(replay=replay)).hidden
    changes = []
    for t in range(x.shape[1] - 1):
        found = attention(changed_after(x, t), Context(replay=replay)).hidden
        changes.append(float((found - expected).detach()[:, : t + 1].abs().max()))
    return max(changes)


@pytest.mark.parametrize("centred", [False, True])
def test_strict_causal_outputs_depend_on_the_past_alone(centred: bool) -> None:
    attention = layer(True, strict_causal=True, n_hashes=2, n_buckets=4, centred_hashing=centred).eval()
    assert largest_leak(attention, torch.randn(2, 16, D, dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("within_bucket", [False, True])
def test_default_causal_outputs_depend_on_later_tokens_through_the_sort(within_bucket: bool) -> None:
    # Buckets of more than bucket_size + 1 tokens: smaller ones fit any two chunks, and within_bucket leaks nothing.
    attention = layer(True, n_hashes=2, n_buckets=2, bucket_size=2, within_bucket=within_bucket).eval()
    assert largest_leak(attention, torch.randn(2, 16, D, dtype=torch.float64)) > 1e-3
    assert "perturbation_causality" in REFORMER.caveats


def test_with_frozen_buckets_causal_outputs_depend_on_the_past_alone() -> None:
    attention = layer(True, n_hashes=2).eval()
    x = torch.randn(2, 16, D, dtype=torch.float64)
    assert largest_leak(attention, x, replay=attention(x, Context()).replay) < 1e-12


@pytest.mark.parametrize(
    "options", [{}, {"attention": "full"}, {"within_bucket": True}, {"centred_hashing": True}, {"strict_causal": True}]
)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [2, 4, 7])
def test_padding_changes_nothing(options: dict[str, Any], causal: bool, length: int) -> None:
    attention = layer(causal or "strict_causal" in options, n_hashes=2, **options).eval()
    x = torch.randn(1, length, D, dtype=torch.float64)
    longer = torch.cat([x, torch.randn(1, 13 - length, D, dtype=torch.float64)], dim=1)
    valid = (torch.arange(13) < length)[None]
    found = attention(longer, Context(valid)).hidden[:, :length]
    torch.testing.assert_close(found, attention(x, Context()).hidden, atol=1e-10, rtol=0)


def test_with_wrap_outputs_depend_on_how_far_a_batch_pads_them() -> None:
    """The first chunk sees the last: padding in one batch, the row's own end in another, as the README says."""
    attention = layer(n_hashes=2, wrap=True).eval()
    x = torch.randn(1, 7, D, dtype=torch.float64)
    longer = torch.cat([x, torch.randn(1, 6, D, dtype=torch.float64)], dim=1)
    valid = (torch.arange(13) < 7)[None]
    found = attention(longer, Context(valid)).hidden[:, :7]
    assert (found - attention(x, Context()).hidden).abs().max() > 1e-3


def test_padding_has_a_bucket_of_its_own_and_an_all_padded_row_gives_zeros() -> None:
    attention = layer(n_hashes=2)
    valid = half_padded(13)
    valid[0] = False
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    output = attention(x, Context(valid))
    assert ((output.replay == attention.n_buckets) == ~valid[:, None, None, :]).all()
    assert (output.hidden[0] == 0).all()
    output.hidden.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
