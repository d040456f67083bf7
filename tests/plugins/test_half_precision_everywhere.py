"""Every variant under autocast, on processors that multiply half precision fast and on those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attention_arena import build_attention
from attention_arena.catalogue import load_catalogue
from attention_arena.layers import half_precision
from attention_arena.measures.memory.counting import saved_for_backward

NAMES = sorted(set(load_catalogue(kinds=("variant",)).variants) - {"passthrough"})
OPTIONS = {"linformer": {"rank": 16}}  # So that weights, of which autocast keeps copies, are few.
B, T, D = 2, 256, 32

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast products", "slow products"])
@pytest.mark.parametrize("name", NAMES)
def test_backward_keeps_less_and_numbers_stay_close(name: str, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    layer = build_attention(name, d_model=D, n_heads=4, max_length=T, **OPTIONS.get(name, {})).eval()
    x = torch.randn(B, T, D, requires_grad=True)

    def run(lowers: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=lowers):
            return layer(x)  # type: ignore[no-any-return]

    kept = [saved_for_backward(lambda lowers=lowers: run(lowers), layer.parameters()) for lowers in (True, False)]
    assert kept[0] < 0.8 * kept[1]
    exact, found = run(False), run(True)
    if name != "reformer" or not is_fast:  # Queries that are rounded may fall into other buckets.
        torch.testing.assert_close(found.float(), exact, rtol=0, atol=2e-2 * exact.abs().max().item())
