"""Gradients, dropout and precision of Transformer-XL's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attention_arena.layers.reversible import run_two_streams
from attention_arena.variant import Context
from attention_arena_variants.transformer_xl.attention import Memory
from tests.plugins.transformer_xl_stacks import EXACT, attention_of, backbone, difference, read, text

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_the_output_without_gradients_is_the_one_with_them(encoding: str) -> None:
    stack = backbone(encoding=encoding, segment_length=4, memory=3)
    x, valid = text(2, 10), torch.arange(10).expand(2, -1) < torch.tensor([[10], [7]])
    with torch.no_grad():
        found = stack(x, Context(valid)).hidden
    assert difference(found[valid], stack(x, Context(valid)).hidden[valid]) < EXACT


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_gradients_equal_numerical_ones_with_memory_and_padding(causal: bool, encoding: str) -> None:
    attention = attention_of(backbone(causal, encoding=encoding, shape={"n_layers": 1}))
    state = Memory(text(2, 3, seed=2), torch.tensor([[True] * 3, [False, True, True]]))
    valid = torch.tensor([[True] * 4, [True, True, True, False]])
    x = text(2, 4).requires_grad_()
    torch.autograd.gradcheck(
        lambda x, *_: attention(x, Context(valid, state=state)).hidden, (x, *attention.parameters()), fast_mode=True
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
@pytest.mark.parametrize("memory", [3, 6])
def test_t8_gradients_of_segments_inside_an_input_are_those_of_segments_handed_in(
    memory: int, encoding: str, norm: str, padded: bool
) -> None:
    stack = backbone(encoding=encoding, segment_length=4, memory=memory, shape={"norm": norm})
    x = text(2, 10).requires_grad_()
    valid = torch.arange(10).expand(2, -1) < torch.tensor([[10], [7]]) if padded else None
    handed_in, state = [], None
    for start in range(0, 10, 4):
        output = stack(
            x[:, start : start + 4], Context(None if valid is None else valid[:, start : start + 4], state=state)
        )
        handed_in.append(output.hidden)
        state = output.state
    results = stack(x, Context(valid)).hidden, torch.cat(handed_in, dim=1)
    seen = torch.ones(2, 10, dtype=torch.bool) if valid is None else valid
    inputs = [x, *stack.parameters()]
    gradients = [torch.autograd.grad(hidden[seen].sin().sum(), inputs) for hidden in results]
    for a, b in zip(*gradients, strict=True):
        assert difference(a, b) < EXACT


@pytest.mark.parametrize("segment_length", [None, 3])
@pytest.mark.parametrize("residual", ["checkpointed", "reversible"])
def test_recomputed_stacks_with_memory_have_the_gradients_of_plain_ones(
    residual: str, segment_length: int | None
) -> None:
    options: dict[str, Any] = {"memory": 4, "segment_length": segment_length, "attention_dropout": 0.3, "tie_uv": True}
    plain, recomputed = (
        backbone(shape={"residual": kind, "dropout": 0.2}, **options).train() for kind in ("plain", residual)
    )
    if residual == "reversible":
        plain.residual = run_two_streams
    state = [Memory(text(2, 4, seed=7 + layer), None) for layer in range(2)]
    results = []
    for stack in (plain, recomputed):
        torch.manual_seed(3)
        x = text(2, 5).requires_grad_()
        output = stack(x, Context(state=state, resumes=torch.tensor([True, False])))
        output.hidden.sin().sum().backward()
        results.append([output.hidden, x.grad, output.state[1].hidden, *(p.grad for p in stack.parameters())])
    for a, b in zip(*results, strict=True):
        assert difference(a, b) < EXACT


def test_dropout_reaches_sinusoids_and_probabilities_in_training_alone() -> None:
    x = text(2, 5)
    for fields in ({"shape": {"dropout": 0.5}}, {"attention_dropout": 0.5}):
        attention = attention_of(backbone(**fields))
        assert torch.equal(attention(x, Context()).hidden, attention(x, Context()).hidden)
        attention.train()
        assert difference(attention(x, Context()).hidden, attention(x, Context()).hidden) > 1e-3


def test_bfloat16_autocast_stays_near_float32() -> None:
    stack = backbone(memory=4).float().train()
    x = text(2, 6).float()
    expected = read(stack, x, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = read(stack, x, 3, 3)
    # 8 bits of mantissa through two layers, for values of order 1.
    assert difference(found.float(), expected) < 0.1
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert difference(read(stack.eval(), x, 3, 3).float(), expected) < 0.1
