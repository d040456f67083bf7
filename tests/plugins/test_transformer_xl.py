from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import sinusoids
from attention_arena.layers.reversible import run_two_streams
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.transformer_xl import TransformerXLOptions, build, register_variants
from attention_arena_variants.transformer_xl.attention import Memory, MemoryAttention
from attention_arena_variants.transformer_xl.relative import ShawTerms, XLTerms, distances, shift
from attention_arena_variants.transformer_xl.segments import SegmentStack

D_MODEL = 8
EXACT = 1e-10


def backbone(causal: bool = True, shape: dict[str, Any] | None = None, **options: Any) -> SegmentStack:
    """A float64 stack in evaluation mode whose attention is far from uniform, unlike a fresh one."""
    torch.manual_seed(0)
    fields = {"d_model": D_MODEL, "n_heads": 2, "n_layers": 2, "d_ff": 12, "max_length": 24, "causal": causal}
    built = build(TransformerXLOptions(**options), ModelShape(**(fields | (shape or {}))))
    assert isinstance(built, SegmentStack)
    for block in built.blocks:
        for parameter in block.attention.parameters():
            nn.init.normal_(parameter, std=0.5)
    return built.double().eval()


def text(B: int, T: int, seed: int = 1) -> Tensor:
    return torch.randn(B, T, D_MODEL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read(stack: SegmentStack, x: Tensor, *lengths: int) -> Tensor:
    """Encode `x` (B, T, D) in segments of the given lengths, with the state handed on."""
    hidden, state = [], None
    for segment in torch.split(x, list(lengths), dim=1):
        output = stack(segment, Context(state=state))
        hidden.append(output.hidden)
        state = output.state
    return torch.cat(hidden, dim=1)


def dense_attention(attention: MemoryAttention, normed: Tensor, allowed: Tensor) -> Tensor:
    """The formula pair by pair: terms a to d of every query and key of `normed` (B, n, D), `allowed` (n, n) bool."""
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
                u, v, r = 0.0, 0.0, torch.zeros(H, D // H, dtype=normed.dtype)
                if isinstance(terms, XLTerms):
                    u, v = terms.biases.content, terms.biases.position
                    r = (terms.project.weight @ sinusoids(torch.tensor(i - j), D)).view(H, -1)
                elif isinstance(terms, ShawTerms):
                    r = terms.table[i - j + terms.n_after].expand(H, -1)
                pair = ((query[:, i] + u) * key[:, j]).sum(-1) + ((query[:, i] + v) * r).sum(-1)
                scores[:, :, j] = pair / (D // H) ** 0.5
        rows.append(torch.einsum("bhj,bjhe->bhe", scores.softmax(-1), value).reshape(B, D))
    return torch.stack(rows, dim=1) @ attention.project_out.weight.T


def dense(stack: SegmentStack, x: Tensor, allowed: Tensor) -> Tensor:
    """The stack with dense attention over the whole text (B, n, D) at once."""
    for block in stack.blocks:
        x = x + dense_attention(block.attention, block.attention_norm(x), allowed)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return stack.final_norm(x)


def causal_band(n: int, width: int) -> Tensor:
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return (distance >= 0) & (distance < width)


def segmentwise(n: int, length: int, memory: int, causal: bool) -> Tensor:
    """Which of `n` tokens a token may see when they are read in segments with a memory to the left."""
    query, key = torch.arange(n)[:, None], torch.arange(n)
    start = query // length * length
    seen = (key >= start - memory) & (key < start + length)
    return seen & (key <= query) if causal else seen


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


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


def test_t3_a_short_memory_without_same_length_differs_from_one_pass() -> None:
    stack = backbone(memory=2)
    x = text(2, 9)
    assert difference(read(stack, x, 3, 3, 3), read(stack, x, 9)) > 1e-3


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("M", [0, 3, 7])
@pytest.mark.parametrize("causal", [True, False])
def test_t4_the_shift_puts_each_distance_under_its_key(T: int, M: int, causal: bool) -> None:
    steps = distances(T, M + T, causal, torch.device("cpu")).tolist()
    scores = text(2, T)[..., :1].repeat(1, 1, len(steps)) + torch.arange(len(steps)) * 100.0
    shifted = shift(scores, M + T)
    for i in range(T):
        for j in range(M + T):
            if not causal or j <= M + i:
                assert torch.equal(shifted[:, i, j], scores[:, i, steps.index(M + i - j)])


def test_t4_the_shift_refuses_scores_without_the_spare_distance() -> None:
    with pytest.raises(ValueError, match=r"more distances than keys \(5\), got 5"):
        shift(torch.zeros(2, 3, 5), 5)


def test_t5_without_biases_and_projected_distances_it_is_the_plain_transformer_over_memory_and_segment() -> None:
    attention = backbone(memory=4).blocks[0].attention
    for silent in (attention.terms.project.weight, *attention.terms.biases.parameters()):
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


@pytest.mark.parametrize(
    ("options", "lengths", "reach"),
    [
        ({"memory": 3}, [3] * 5, lambda offset: 2 * 3 + offset),
        ({"memory": 4}, [2] * 7, lambda offset: 2 * 4 + offset),
        ({"memory": 4, "same_length": True}, [3] * 5, lambda offset: 2 * 3),
    ],
)
def test_t7_a_token_reaches_one_memory_further_with_each_layer(options: Any, lengths: Any, reach: Any) -> None:
    stack = backbone(**options)
    n = sum(lengths)
    x, other = text(1, n), text(1, n, seed=2)
    before = read(stack, x, *lengths)
    furthest = torch.zeros(n, dtype=torch.long)
    for place in range(n):
        changed = x.clone()
        changed[:, place] = other[:, place]
        touched = ((read(stack, changed, *lengths) - before).abs() > EXACT).any(-1)[0]
        furthest = furthest.maximum(torch.where(touched, torch.arange(n) - place, 0))
    for offset in range(lengths[0]):
        assert furthest[n - lengths[0] + offset] == reach(offset)


def test_t8_no_gradient_enters_memory_and_the_rest_is_that_of_constant_rows() -> None:
    stack = backbone(memory=4, shape={"n_layers": 1})
    attention = stack.blocks[0].attention
    first, second = text(2, 4).requires_grad_(), text(2, 3, seed=2).requires_grad_()
    memory = attention(first, Context()).state
    assert not memory.hidden.requires_grad
    found = attention(second, Context(state=Memory(first, None))).hidden[:, -1].sin().sum()
    assert torch.autograd.grad(found, [first], retain_graph=True, allow_unused=True) == (None,)
    rows = torch.cat([first.detach(), second], dim=1)
    expected = dense_attention(attention, rows, causal_band(7, 7))[:, -1].sin().sum()
    inputs = [second, *attention.parameters()]
    for a, b in zip(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True):
        assert difference(a, b) < EXACT
    through_segments = backbone(memory=4, segment_length=4)(torch.cat([first, second], dim=1)).hidden
    (gradient,) = torch.autograd.grad(through_segments[:, 4:].sin().sum(), [first])
    assert torch.equal(gradient, torch.zeros_like(first))


def test_t9_memory_starts_empty_and_is_never_filled_with_zeros() -> None:
    stack = backbone(memory=6)
    x = text(2, 3)
    state = stack(x).state
    assert [memory.hidden.shape[1] for memory in state] == [3, 3]
    assert torch.equal(state[0].hidden, x)
    assert torch.equal(stack(x[:, :2], Context(state=state)).state[0].hidden, torch.cat([x, x[:, :2]], dim=1))
    zeros = [Memory(torch.zeros_like(text(2, 6)), None) for _ in range(2)]
    assert difference(stack(x, Context(state=zeros)).hidden, stack(x).hidden) > 1e-3


def test_t10_the_memory_of_one_row_is_not_seen_by_another() -> None:
    stack = backbone(memory=6)
    before, after = text(2, 4), text(2, 3, seed=2)
    changed = before.clone()
    changed[0] = text(1, 4, seed=3)[0]
    expected, found = (stack(after, Context(state=stack(x).state)).hidden for x in (before, changed))
    assert difference(found[1], expected[1]) < EXACT
    assert difference(found[0], expected[0]) > 1e-3


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


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_padding_changes_nothing_in_any_segment(causal: bool, encoding: str) -> None:
    stack = backbone(causal, segment_length=4, memory=3, encoding=encoding)
    lengths = (10, 5, 1)
    x = text(3, 10)
    valid = torch.arange(10) < torch.tensor(lengths)[:, None]
    found = stack(torch.where(valid[..., None], x, 1e3), Context(valid)).hidden
    for row, length in enumerate(lengths):
        assert difference(found[row, :length], stack(x[row : row + 1, :length]).hidden[0]) < EXACT


def test_padded_tokens_stay_hidden_in_memory() -> None:
    stack = backbone(memory=6)
    x, after = text(2, 5), text(2, 3, seed=2)
    valid = torch.tensor([[False, False, True, True, True]] * 2)
    padded = stack(x, Context(valid)).state
    found = stack(after, Context(state=padded)).hidden
    assert difference(found, stack(after, Context(state=stack(x[:, 2:]).state)).hidden) < EXACT


def test_a_query_with_nothing_to_attend_to_gives_zeros_and_no_nan_gradient() -> None:
    for encoding in ("rel_xl", "abs"):
        attention = backbone(causal=False, encoding=encoding).blocks[0].attention
        x = text(2, 4).requires_grad_()
        valid = torch.tensor([[True] * 4, [False] * 4])
        hidden = attention(x, Context(valid)).hidden
        assert torch.equal(hidden[1], torch.zeros_like(hidden[1]))
        assert (hidden[0] != 0).all()
        (gradient,) = torch.autograd.grad(hidden.square().sum(), [x])
        assert gradient.isfinite().all()
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


@pytest.mark.parametrize("n_resuming", [0, 1, 2])
def test_rows_that_do_not_resume_start_anew(n_resuming: int) -> None:
    stack = backbone(memory=6)
    state = stack(text(2, 4)).state
    segments = text(2, 3, seed=2), text(2, 2, seed=3)
    resumes = torch.arange(2) < n_resuming
    resumed = stack(segments[0], Context(state=state))
    fresh = stack(segments[0])
    mixed = stack(segments[0], Context(state=state, resumes=resumes))
    later = [stack(segments[1], Context(state=output.state)).hidden for output in (resumed, fresh, mixed)]
    for found, continued, begun in ((mixed.hidden, resumed.hidden, fresh.hidden), (later[2], later[0], later[1])):
        assert difference(found, torch.where(resumes[:, None, None], continued, begun)) < EXACT


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
def test_a_memory_longer_at_evaluation_than_in_training_is_used_whole(encoding: str) -> None:
    stack = backbone(memory=2, eval_memory=9, encoding=encoding, shape={"max_length": 8})
    x = text(2, 9)
    assert difference(read(stack, x, 3, 3, 3), dense(stack, x, causal_band(9, 9))) < EXACT
    stack.train()
    assert stack(x[:, :5]).state[0].hidden.shape[1] == 2
    assert difference(read(stack, x, 3, 3, 3), dense(stack, x, segmentwise(9, 3, 2, causal=True))) < EXACT


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoding": "rel_shaw"},
        {"encoding": "abs", "segment_length": 4, "memory": 3},
        {"segment_length": 4, "memory": 3},
        {"segment_length": 3, "memory": 0},
        {"segment_length": 3, "memory": 1, "eval_memory": 5},
        {"same_length": True, "memory": 4},
        {"clamp_length": 3},
    ],
)
def test_steps_equal_one_causal_pass(options: Any) -> None:
    stack = backbone(**options)
    x = text(2, 11)
    steps, state = [], None
    for t in range(11):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
        steps.append(hidden)
    assert difference(torch.cat(steps, dim=1), stack(x).hidden) < EXACT


def test_steps_beyond_the_longest_input_keep_the_evaluation_memory_alone() -> None:
    stack = backbone(memory=2, eval_memory=3, shape={"max_length": 4})
    x = text(2, 10)
    steps, lengths, state = [], [], None
    for t in range(10):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
        steps.append(hidden)
        lengths.append(state[0].hidden.shape[1])
    assert lengths == [1, 2, 3, 3, 4, 5, 6, 3, 4, 5]
    assert difference(torch.cat(steps, dim=1), read(stack, x, 4, 4, 2)) < EXACT


def test_steps_continue_a_text_that_was_read_in_one_pass() -> None:
    stack = backbone(memory=9)
    x = text(2, 9)
    state = stack(x[:, :6]).state
    for t in range(6, 9):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
    assert difference(hidden, stack(x).hidden[:, -1:]) < EXACT


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
@pytest.mark.parametrize("causal", [True, False])
def test_clamping_makes_far_distances_one_at_evaluation_only(encoding: str, causal: bool) -> None:
    free, clamped = (backbone(causal, encoding=encoding, clamp_length=clamp) for clamp in (None, 3))
    x = text(2, 4)
    assert difference(clamped(x).hidden, free(x).hidden) == 0
    terms = clamped.blocks[0].attention.terms
    query = text(2, 12).view(2, 2, 12, 4)
    scores = terms.scores(query, 12)
    asked = terms.position_query(query) / 2
    for i in range(12):
        for j in range(i + 1 if causal else 12):
            clamped_distance = torch.tensor([max(-3, min(3, i - j))])
            vector = free.blocks[0].attention.terms.vectors(clamped_distance, 12, query.dtype)  # (H, E, 1)
            expected = (asked[:, :, i] @ vector)[..., 0]
            assert difference(scores[:, :, i, j], expected) < EXACT
    assert difference(terms.scores(query, 12), terms.train().scores(query, 12)) > 1e-3
    assert torch.equal(terms.scores(query, 12), free.blocks[0].attention.terms.train().scores(query, 12))


def test_tied_biases_are_one_pair_for_all_layers_and_receive_the_gradient_of_all() -> None:
    tied, untied = backbone(tie_uv=True), backbone()
    pair = 2 * D_MODEL
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == pair
    assert tied.blocks[0].attention.terms.biases is tied.blocks[1].attention.terms.biases
    untied.load_state_dict(tied.state_dict())
    x = text(2, 6)
    for stack in (tied, untied):
        stack(x).hidden.sin().sum().backward()
    own = [block.attention.terms.biases for block in untied.blocks]
    for name in ("content", "position"):
        summed = sum(getattr(biases, name).grad for biases in own)
        assert difference(getattr(tied.blocks[0].attention.terms.biases, name).grad, summed) < EXACT


def test_learned_distances_beyond_the_table_reuse_the_outermost_vector() -> None:
    terms = backbone(encoding="rel_shaw", memory=2, shape={"max_length": 3}).blocks[0].attention.terms
    assert terms.table.shape == (5, D_MODEL // 2)
    scores = terms.scores(text(2, 1).view(2, 2, 1, 4), 9)
    assert torch.equal(scores[..., :4], scores[..., 4:5].expand(-1, -1, -1, 4))
    assert difference(scores[..., 4], scores[..., 5]) > 1e-3


def test_absolute_positions_count_from_zero_in_every_segment() -> None:
    stack = backbone(encoding="abs", memory=0, segment_length=3)
    hidden = stack(text(1, 3).repeat(1, 2, 1)).hidden
    assert difference(hidden[:, :3], hidden[:, 3:]) < EXACT
    same = stack(text(1, 1).repeat(1, 3, 1)).hidden
    assert difference(same[:, 0], same[:, 2]) > 1e-3


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_the_fused_path_of_evaluation_equals_the_one_with_gradients(encoding: str) -> None:
    stack = backbone(encoding=encoding, segment_length=4, memory=3)
    x, valid = text(2, 10), torch.arange(10).expand(2, -1) < torch.tensor([[10], [7]])
    with torch.no_grad():
        found = stack(x, Context(valid)).hidden
    assert difference(found[valid], stack(x, Context(valid)).hidden[valid]) < EXACT


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_gradients_equal_numerical_ones_with_memory_and_padding(causal: bool, encoding: str) -> None:
    attention = backbone(causal, encoding=encoding, shape={"n_layers": 1}).blocks[0].attention
    state = Memory(text(2, 3, seed=2), torch.tensor([[True] * 3, [False, True, True]]))
    valid = torch.tensor([[True] * 4, [True, True, True, False]])
    x = text(2, 4).requires_grad_()
    torch.autograd.gradcheck(
        lambda x, *_: attention(x, Context(valid, state=state)).hidden, (x, *attention.parameters()), fast_mode=True
    )


@pytest.mark.parametrize("segment_length", [None, 3])
@pytest.mark.parametrize("residual", ["checkpointed", "reversible"])
def test_recomputed_stacks_with_memory_have_the_gradients_of_plain_ones(
    residual: str, segment_length: int | None
) -> None:
    options = {"memory": 4, "segment_length": segment_length, "attention_dropout": 0.3, "tie_uv": True}
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
        attention = backbone(**fields).blocks[0].attention
        assert torch.equal(attention(x, Context()).hidden, attention(x, Context()).hidden)
        attention.train()
        assert difference(attention(x, Context()).hidden, attention(x, Context()).hidden) > 1e-3


def test_post_norm_remembers_the_input_of_the_layer_as_it_is() -> None:
    stack = backbone(memory=9, shape={"norm": "post"})
    x = text(2, 9)
    assert torch.equal(stack(x).state[0].hidden, x)
    assert difference(read(stack, x, 4, 5), stack(x).hidden) < EXACT


def test_memory_holds_its_rows_and_nothing_else() -> None:
    memory = backbone(memory=3)(text(2, 9)).state[1]
    assert memory.hidden.untyped_storage().nbytes() == 2 * 3 * D_MODEL * 8


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


def test_projections_and_biases_start_small_and_without_additive_terms() -> None:
    torch.manual_seed(0)
    shape = ModelShape(d_model=64, n_heads=2, n_layers=2, max_length=8, causal=True)
    attention = build(TransformerXLOptions(), shape).blocks[0].attention
    assert not [name for name, _ in attention.named_parameters() if name.endswith(".bias")]
    for parameter in attention.parameters():
        # 64 numbers in the smallest: their deviation is within 30 % of the true one.
        assert parameter.std().item() == pytest.approx(0.02, rel=0.3)


def test_a_state_of_another_batch_size_is_refused() -> None:
    stack = backbone()
    with pytest.raises(ValueError, match="2 rows of text, the segment 3"):
        stack(text(3, 4), Context(state=stack(text(2, 4)).state))


@pytest.mark.parametrize(
    "options",
    [
        {"same_length": True, "memory": 0},
        {"same_length": True, "eval_memory": 0},
        {"encoding": "abs", "clamp_length": 4},
        {"encoding": "abs", "tie_uv": True},
        {"encoding": "rel_shaw", "tie_uv": True},
        {"memory": -1},
        {"segment_length": 0},
    ],
)
def test_options_that_cannot_be_are_refused(options: Any) -> None:
    with pytest.raises(ValidationError):
        TransformerXLOptions(**options)


def test_the_hook_registers_the_variant() -> None:
    (variant,) = register_variants()
    assert variant.name == "transformer_xl"
    assert variant.positions == "relative"
