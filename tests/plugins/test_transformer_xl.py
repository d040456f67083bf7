"""Transformer-XL against dense attention, pair by pair: what it computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import sinusoids
from attention_arena.layers.block import Block
from attention_arena.variant import Context
from attention_arena_variants.transformer_xl import register_variants
from attention_arena_variants.transformer_xl.attention import Memory, MemoryAttention
from attention_arena_variants.transformer_xl.relative import ShawTerms, XLTerms
from attention_arena_variants.transformer_xl.segments import SegmentStack
from tests.plugins.transformer_xl_stacks import D_MODEL, EXACT, attention_of, backbone, difference, read, text

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def dense_attention(attention: MemoryAttention, normed: Tensor, allowed: Tensor, clamp: int = 99) -> Tensor:
    """The formula pair by pair: terms a to d of every query and key of `normed` (B, n, D), `allowed` (n, n) bool.

    Distances above `clamp` count as that one.
    """
    B, n, D = normed.shape
    H = attention.n_heads
    query, key, value = (
        (normed @ weight.T).view(B, n, H, D // H)
        for weight in (attention.project_query.weight, *attention.project_key_value.weight.chunk(2))
    )
    terms = attention.terms
    rows = []
    for i in range(n):
        scores = torch.full((B, H, n), -torch.inf, dtype=normed.dtype)
        for j in range(n):
            if allowed[i, j]:
                distance = max(-clamp, min(clamp, i - j))
                u = v = r = torch.zeros(H, D // H, dtype=normed.dtype)
                if isinstance(terms, XLTerms):
                    u, v = terms.biases.content, terms.biases.position
                    r = (terms.project.weight @ sinusoids(torch.tensor(distance), D)).view(H, -1)
                elif isinstance(terms, ShawTerms):
                    r = terms.table[distance + terms.n_after].expand(H, -1)
                pair = ((query[:, i] + u) * key[:, j]).sum(-1) + ((query[:, i] + v) * r).sum(-1)
                scores[:, :, j] = pair / (D // H) ** 0.5
        rows.append(torch.einsum("bhj,bjhe->bhe", scores.softmax(-1), value).reshape(B, D))
    return torch.stack(rows, dim=1) @ attention.project_out.weight.T


def dense(stack: SegmentStack, x: Tensor, allowed: Tensor, clamp: int = 99) -> Tensor:
    """The stack with dense attention over the whole text (B, n, D) at once."""
    for layer, block in enumerate(stack.blocks):
        assert isinstance(block, Block)
        x = x + dense_attention(attention_of(stack, layer), block.attention_norm(x), allowed, clamp)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    found: Tensor = stack.final_norm(x)
    return found


def causal_band(n: int, width: int) -> Tensor:
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return (distance >= 0) & (distance < width)


def segmentwise(n: int, length: int, memory: int, causal: bool) -> Tensor:
    """Which of `n` tokens a token may see when they are read in segments with a memory to the left."""
    query, key = torch.arange(n)[:, None], torch.arange(n)
    start = query // length * length
    seen = (key >= start - memory) & (key < start + length)
    return seen & (key <= query) if causal else seen


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
@pytest.mark.parametrize("lengths", [(9,), (1, 8), (4, 4, 1), (2, 3, 1, 3)])
def test_t1_any_segmentation_with_all_history_in_memory_equals_one_pass(
    encoding: str, lengths: tuple[int, ...]
) -> None:
    stack = backbone(memory=9, encoding=encoding, shape={"n_layers": 3})
    x = text(2, 9)
    assert difference(read(stack, x, *lengths), dense(stack, x, causal_band(9, 9))) < EXACT


@pytest.mark.parametrize("lengths", [(9,), (1, 8), (4, 4, 1), (2, 3, 1, 3)])
def test_t2_same_length_equals_causal_attention_in_a_band_as_wide_as_the_memory(lengths: tuple[int, ...]) -> None:
    stack = backbone(memory=3, same_length=True, shape={"n_layers": 3})
    x = text(2, 9)
    assert difference(read(stack, x, *lengths), dense(stack, x, causal_band(9, 3))) < EXACT


@pytest.mark.parametrize("length", [1, 2, 4, 5])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
def test_t2_same_length_is_a_band_for_segments_inside_an_input_too(length: int, encoding: str) -> None:
    stack = backbone(memory=3, same_length=True, segment_length=length, encoding=encoding)
    x = text(2, 11)
    assert difference(stack(x).hidden, dense(stack, x, causal_band(11, 3))) < EXACT


def test_t3_a_short_memory_without_same_length_differs_from_one_pass() -> None:
    stack = backbone(memory=2)
    x = text(2, 9)
    assert difference(read(stack, x, 3, 3, 3), read(stack, x, 9)) > 1e-3


def test_t5_without_biases_and_projected_distances_it_is_the_plain_transformer_over_memory_and_segment() -> None:
    attention = attention_of(backbone(memory=4))
    terms = attention.terms
    assert isinstance(terms, XLTerms)
    for silent in (terms.project.weight, *terms.biases.parameters()):
        nn.init.zeros_(silent)
    memory, x = text(2, 4, seed=3), text(2, 5)
    found = attention(x, Context(state=Memory(memory, None))).hidden
    rows = torch.cat([memory, x], dim=1)
    query, key, value = (
        (part @ weight.T).view(2, -1, 2, D_MODEL // 2).transpose(1, 2)
        for part, weight in zip(
            (x, rows, rows),
            (attention.project_query.weight, *attention.project_key_value.weight.chunk(2)),
            strict=True,
        )
    )
    mask = torch.ones(5, 9, dtype=torch.bool).tril(4)
    heads = functional.scaled_dot_product_attention(query, key, value, mask)
    assert difference(found, attention.project_out(heads.transpose(1, 2).flatten(2))) < EXACT


@pytest.mark.parametrize(("encoding", "invariant"), [("rel_xl", True), ("rel_shaw", True), ("abs", False)])
def test_t6_relative_encodings_alone_give_the_same_output_at_any_offset(encoding: str, invariant: bool) -> None:
    stack = backbone(encoding=encoding)
    x = text(2, 5)
    moved = torch.cat([text(2, 6, seed=4), x], dim=1)
    valid = torch.arange(11).expand(2, -1) >= 6
    moved_by = difference(stack(moved, Context(valid)).hidden[:, 6:], stack(x).hidden)
    assert moved_by < EXACT if invariant else moved_by > 1e-3


def furthest_reached(stack: SegmentStack, segment_length: int, n: int) -> Tensor:
    """How far back the oldest token is that changes the output of each of `n` tokens; they are changed in turn."""
    x = text(1, n).repeat(n + 1, 1, 1)
    places = torch.arange(n)
    x[places, places] = text(1, n, seed=2)[0]
    hidden = read(stack, x, *[len(segment) for segment in torch.split(places, segment_length)])
    touched = ((hidden[:n] - hidden[n]).abs() > EXACT).any(-1)  # (changed, seen)
    return torch.where(touched, places - places[:, None], 0).amax(0)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("memory", "length"), [(3, 3), (4, 2), (4, 3), (2, 5), (5, 4), (0, 3)])
def test_t7_a_token_reaches_one_memory_further_with_each_layer(memory: int, length: int, layers: int) -> None:
    """N M + offset in the segment, where memory is whole segments.

    Elsewhere each layer but the last goes on to the start of the segment in which the memory of the layer above ends:
    M + (N - 1) L ceil(M / L) + offset. The last segment here is ragged.
    """
    stack = backbone(memory=memory, shape={"n_layers": layers})
    beyond_segment = memory + (layers - 1) * length * math.ceil(memory / length)
    n = (math.ceil(beyond_segment / length) + 2) * length - 1
    offset = torch.arange(n)[-length:] % length
    assert torch.equal(furthest_reached(stack, length, n)[-length:], beyond_segment + offset)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("memory", "length"), [(3, 3), (4, 3), (2, 5)])
def test_t7_with_same_length_a_token_reaches_one_memory_less_itself_with_each_layer(
    memory: int, length: int, layers: int
) -> None:
    stack = backbone(memory=memory, same_length=True, shape={"n_layers": layers})
    reach = layers * (memory - 1)
    assert (furthest_reached(stack, length, reach + 7)[reach:] == reach).all()


def test_t8_no_gradient_enters_memory_and_the_rest_is_that_of_constant_rows() -> None:
    stack = backbone(memory=4, shape={"n_layers": 1})
    attention = attention_of(stack)
    first, second = text(2, 4).requires_grad_(), text(2, 3, seed=2).requires_grad_()
    memory = attention(first, Context()).state
    assert not memory.hidden.requires_grad
    found = attention(second, Context(state=Memory(first, None))).hidden[:, -1].sin().sum()
    (of_memory,) = torch.autograd.grad(found, [first], retain_graph=True, allow_unused=True, materialize_grads=True)
    assert torch.equal(of_memory, torch.zeros_like(first))
    rows = torch.cat([first.detach(), second], dim=1)
    expected = dense_attention(attention, rows, causal_band(7, 7))[:, -1].sin().sum()
    inputs = [second, *attention.parameters()]
    for a, b in zip(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True):
        assert difference(a, b) < EXACT
    through_segments = backbone(memory=4, segment_length=4)(torch.cat([first, second], dim=1)).hidden
    (gradient,) = torch.autograd.grad(through_segments[:, 4:].sin().sum(), [first])
    assert torch.equal(gradient, torch.zeros_like(first))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_t8_the_norm_and_the_projections_learn_from_memory_too(norm: str) -> None:
    """Against dense attention over constant rows, which enter through norm and projections like any other."""
    stack = backbone(memory=4, shape={"n_layers": 1, "norm": norm})
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.5)
    first, second = text(2, 4), text(2, 3, seed=2).requires_grad_()
    found = stack(second, Context(state=[Memory(first, None)])).hidden
    (block,) = stack.blocks
    assert isinstance(block, Block)
    rows, sees = torch.cat([first, second], dim=1), causal_band(7, 7)
    if norm == "pre":
        expected = dense(stack, rows, sees)[:, 4:]
    else:
        x = block.attention_norm(rows + dense_attention(attention_of(stack), rows, sees))[:, 4:]
        expected = block.feed_forward_norm(x + block.feed_forward(x))
    inputs = [second, *stack.parameters()]
    gradients = [torch.autograd.grad(hidden.sin().sum(), inputs) for hidden in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert difference(a, b) < EXACT


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("length", "memory"), [(4, 3), (3, 5), (2, 0), (1, 4), (24, 4)])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
def test_segments_inside_an_input_equal_dense_masked_attention(
    causal: bool, length: int, memory: int, encoding: str
) -> None:
    stack = backbone(causal, segment_length=length, memory=memory, encoding=encoding)
    x = text(2, 10)
    output = stack(x)
    assert difference(output.hidden, dense(stack, x, segmentwise(10, length, memory, causal))) < EXACT
    assert (output.state is not None) == causal


@pytest.mark.parametrize("options", [{"segment_length": 4, "memory": 3}, {"segment_length": 3, "memory": 7}, {}])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_segments_inside_an_input_equal_segments_handed_in_one_by_one(options: Any, encoding: str) -> None:
    stack = backbone(encoding=encoding, **options)
    x = text(2, 11)
    length = options.get("segment_length", 11)
    lengths = [length] * (11 // length) + [11 % length] * (11 % length > 0)
    whole = stack(x)
    assert difference(whole.hidden, read(stack, x, *lengths)) < EXACT
    after = text(2, 3, seed=5)
    state = None
    for segment in torch.split(x, lengths, dim=1):
        state = stack(segment, Context(state=state)).state
    found = stack(after, Context(state=whole.state)).hidden
    assert difference(found, stack(after, Context(state=state)).hidden) < EXACT


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
def test_a_memory_longer_at_evaluation_than_in_training_is_used_whole(encoding: str) -> None:
    stack = backbone(memory=2, eval_memory=9, encoding=encoding, shape={"max_length": 8})
    x = text(2, 9)
    assert difference(read(stack, x, 3, 3, 3), dense(stack, x, causal_band(9, 9))) < EXACT
    stack.train()
    assert stack(x[:, :5]).state[0].hidden.shape[1] == 2
    assert difference(read(stack, x, 3, 3, 3), dense(stack, x, segmentwise(9, 3, 2, causal=True))) < EXACT


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
@pytest.mark.parametrize("causal", [True, False])
def test_clamping_makes_far_distances_one_at_evaluation_only(encoding: str, causal: bool) -> None:
    stack = backbone(causal, encoding=encoding, clamp_length=3, segment_length=6, memory=4)
    x, allowed = text(2, 14), segmentwise(14, 6, 4, causal)
    clamped, free = dense(stack, x, allowed, clamp=3), dense(stack, x, allowed)
    assert difference(stack(x).hidden, clamped) < EXACT
    assert difference(stack.train()(x).hidden, free) < EXACT
    assert difference(clamped, free) > 1e-3
    assert torch.equal(stack.eval()(x[:, :4]).hidden, stack.train()(x[:, :4]).hidden)


def test_the_hook_registers_the_variant() -> None:
    (variant,) = register_variants()
    assert variant.name == "transformer_xl"
    assert variant.positions == "relative"
