"""A reversible stack decodes step by step with the same two streams."""

from __future__ import annotations

import torch

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.softmax import SOFTMAX


def test_steps_of_a_reversible_stack_equal_its_causal_pass():
    torch.manual_seed(0)
    shape = ModelShape(d_model=16, n_layers=3, max_length=7, causal=True, residual="reversible")
    backbone = SOFTMAX.build(SOFTMAX.options(), shape).double().eval()
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    expected = backbone(x).hidden
    state = None
    for t in range(7):
        output = backbone.step(x[:, t : t + 1], Context(state=state))
        state = output.state
        torch.testing.assert_close(output.hidden, expected[:, t : t + 1], rtol=0, atol=1e-10)
