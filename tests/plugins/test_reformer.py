"""Reformer: hashing, chunks against the union softmax written out, reversibility, and what is not causal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Stack, rotate
from attention_arena.layers.block import Block
from attention_arena.layers.reversible import run_reversible, run_two_streams
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import REFORMER
from attention_arena_variants.reformer import chunks as chunks_module
from attention_arena_variants.reformer.attention import ReformerAttention, ReformerOptions
from attention_arena_variants.reformer.chunks import Rules, attend_in_chunks, lay_out
from attention_arena_variants.reformer.hashing import (
    assign_buckets,
    choose_factors,
    draw_rotations,
    sort_by_bucket,
    take,
)

H, E = 2, 6
D = H * E


pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(causal: bool = False, shape: dict[str, Any] | None = None, **options: Any) -> ReformerAttention:
    size = {"d_model": D, "n_heads": H, "max_length": 16} | (shape or {})
    chosen = ReformerOptions(**({"bucket_size": 4} | options))
    return ReformerAttention(ModelShape(causal=causal, **size), chosen).double()


def heads_of(attention: ReformerAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Query and value (B, H, T, E) by the layer's own weights."""
    query, value = attention.project_in(x).chunk(2, dim=-1)
    B, T, width = query.shape
    size = (B, T, H, width // H)
    return query.view(size).transpose(1, 2), value.view(size).transpose(1, 2)


def counts(buckets: Tensor, options: ReformerOptions, causal: bool, valid: Tensor | None) -> Tensor:
    """N_ij: in how many rounds query i has key j, pair by pair from bucket ids (B, H, R, T); (B, H, T, T)."""
    B, n_heads, n_rounds, T = buckets.shape
    m, n_chunks = options.bucket_size, -(-T // options.bucket_size)
    found = torch.zeros(B, n_heads, T, T)
    for b, h, r in itertools.product(range(B), range(n_heads), range(n_rounds)):
        ids = buckets[b, h, r].tolist()
        place = {t: s for s, (_, t) in enumerate(sorted(zip(ids, range(T), strict=True)))}
        for i, j in itertools.product(range(T), repeat=2):
            back = place[i] // m - place[j] // m
            near = back in (0, 1) or (options.wrap and back == 1 - n_chunks)
            if options.strict_causal:
                near = 0 <= place[i] - place[j] <= m
            same = ids[i] == ids[j] or not (options.within_bucket or options.strict_causal)
            real = valid is None or bool(valid[b, j])
            found[b, h, i, j] += near and same and real and not (causal and j > i)
    return found


def softmax_over(query: Tensor, value: Tensor, weights: Tensor, scale: float = 1.0) -> Tensor:
    """Shared-QK softmax in which pair ij counts `weights` (B, H, T, T) times; zeros for a query without keys."""
    T = query.shape[2]
    logits = scale * query @ (query / query.norm(dim=-1, keepdim=True)).transpose(-1, -2)
    logits = torch.where(torch.eye(T, dtype=torch.bool), -1e5, logits) + weights.to(query.dtype).log()
    probabilities = torch.where(weights.sum(-1, keepdim=True) > 0, logits, 0.0).softmax(-1)
    return torch.where(weights > 0, probabilities, 0.0) @ value


def expected_output(attention: ReformerAttention, x: Tensor, weights: Tensor) -> Tensor:
    query, value = heads_of(attention, x)
    heads = softmax_over(query, value, weights)
    return attention.project_out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def everything(B: int, T: int, causal: bool, valid: Tensor | None) -> Tensor:
    allowed = torch.ones(B, H, T, T)
    allowed = allowed.tril() if causal else allowed
    return allowed if valid is None else allowed * valid[:, None, None, :]


def half_padded(T: int) -> Tensor:
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, (T + 1) // 2 :] = False
    return valid


def assert_same_function(attention: ReformerAttention, x: Tensor, found: Tensor, expected: Tensor) -> None:
    """Values within 1e-10, gradients of input and weights within 1e-4 relative (float64 gives far less)."""
    assert (found - expected).abs().max() < 1e-10
    weights = torch.randn_like(found)
    inputs = [x, *attention.parameters()]
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), inputs, retain_graph=True),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [1, 7, 8])
def test_r1_one_chunk_is_dense_shared_qk_softmax(causal: bool, padded: bool, T: int) -> None:
    attention = layer(causal, bucket_size=8, n_hashes=3)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    expected = expected_output(attention, x, everything(2, T, causal, valid))
    assert_same_function(attention, x, attention(x, Context(valid)).hidden, expected)


@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_r1_one_chunk_of_the_chunked_form_is_dense_shared_qk_softmax(causal: bool, n_hashes: int) -> None:
    query, value = torch.randn(2, 3, 7, E, dtype=torch.float64)
    key = query / query.norm(dim=-1, keepdim=True)
    rules = Rules(chunk=7, causal=causal, reach=1, coded=False, wrap=False, duplicate_correction=True)
    layout = lay_out(torch.randint(4, (n_hashes, 3, 7)), 4, None, rules, None, ranked=False)
    found = attend_in_chunks(query, key, value, layout, rules, 0.0)
    allowed = torch.ones(1, 3, 7, 7)
    expected = softmax_over(query[None], value[None], allowed.tril() if causal else allowed)[0]
    assert (found - expected).abs().max() < 1e-10


@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [5, 8])
def test_r1_two_chunks_with_wrap_are_dense_shared_qk_softmax(causal: bool, padded: bool, T: int, n_hashes: int) -> None:
    attention = layer(causal, wrap=True, n_hashes=n_hashes)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    expected = expected_output(attention, x, everything(2, T, causal, valid))
    assert_same_function(attention, x, attention(x, Context(valid)).hidden, expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"within_bucket": True}, {"wrap": True}, {"strict_causal": True}],
    ids=["chunks", "buckets", "wrap", "strict"],
)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [3, 13])
def test_r2_rounds_are_one_softmax_over_the_union_of_their_keys(
    options: dict[str, Any], causal: bool, padded: bool, T: int
) -> None:
    attention = layer(causal or "strict_causal" in options, n_hashes=3, **options)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    output = attention(x, Context(valid))
    union = counts(output.replay, attention.options, attention.causal, valid) > 0
    assert_same_function(attention, x, output.hidden, expected_output(attention, x, union.double()))


@pytest.mark.parametrize("within_bucket", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_r2_without_correction_a_key_counts_once_for_each_round(causal: bool, within_bucket: bool) -> None:
    attention = layer(causal, n_hashes=3, duplicate_correction=False, within_bucket=within_bucket)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    output = attention(x, Context())
    times = counts(output.replay, attention.options, causal, None)
    assert_same_function(attention, x, output.hidden, expected_output(attention, x, times))
    union = expected_output(attention, x, (times > 0).double())
    assert (output.hidden - union).abs().max() > 1e-3


@pytest.mark.parametrize("T", [1, 3, 13])
@pytest.mark.parametrize("options", [{}, {"strict_causal": True}, {"attention": "full"}])
def test_r3_the_first_causal_token_outputs_its_own_value(options: dict[str, Any], T: int) -> None:
    attention = layer(causal=True, n_hashes=2, **options)
    x = torch.randn(2, T, D, dtype=torch.float64)
    own = attention.project_out(attention.project_in(x[:, 0])[:, D:])
    torch.testing.assert_close(attention(x, Context()).hidden[:, 0], own, atol=1e-12, rtol=0)


@pytest.mark.parametrize("factors", [(8,), (4, 6)])
def test_r4_hashing_ignores_length_and_mirrors_opposites(factors: tuple[int, ...]) -> None:
    x = torch.randn(1, 1, 200, 16)
    rotations = draw_rotations(3, 16, 2, factors)
    buckets = assign_buckets(x, rotations, factors)
    assert torch.equal(assign_buckets(7.5 * x, rotations, factors), buckets)
    opposite = assign_buckets(-x, rotations, factors)
    first = factors[0]
    assert torch.equal(opposite % first, (buckets % first + first // 2) % first)
    for second in factors[1:]:
        assert torch.equal(opposite // first, (buckets // first + second // 2) % second)


def test_r4_collisions_get_rarer_with_the_angle() -> None:
    pairs, n_bins, factors = 10_000, 10, (16,)
    angles = (torch.arange(n_bins) + 0.5) / n_bins * torch.pi
    x, other = torch.randn(2, n_bins, pairs // n_bins, 16)
    x = x / x.norm(dim=-1, keepdim=True)
    across = other - (other * x).sum(-1, keepdim=True) * x
    across = across / across.norm(dim=-1, keepdim=True)
    y = angles.cos()[:, None, None] * x + angles.sin()[:, None, None] * across
    rotations = draw_rotations(1, 16, 8, factors)
    same = assign_buckets(x[None], rotations, factors) == assign_buckets(y[None], rotations, factors)
    rates = same.float().mean((0, 2, 3)).tolist()
    # The last bins are all but empty of collisions, hence not strictly falling there.
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.6
    assert rates[-1] < 0.001


@pytest.mark.parametrize("n_buckets", [2, 8, 32])
def test_r4_isotropic_queries_fill_buckets_evenly(n_buckets: int) -> None:
    x = torch.randn(1, 1, 8192, 64)
    buckets = assign_buckets(x, draw_rotations(0, 64, 1, (n_buckets,)), (n_buckets,))
    load = buckets.flatten().bincount(minlength=n_buckets)
    assert load.max() / load.float().mean() <= 2


def test_r5_more_rounds_find_more_of_the_best_keys_and_err_less() -> None:
    T, rounds, seeds = 128, (1, 2, 4, 8), 20
    recall = torch.zeros(len(rounds), dtype=torch.float64)
    error = torch.zeros_like(recall)
    for seed in range(seeds):
        torch.manual_seed(seed)
        x = 2 * torch.randn(1, T, D, dtype=torch.float64)
        attention = layer(shape={"max_length": T}, bucket_size=8)
        query, _ = heads_of(attention, x)
        logits = query @ (query / query.norm(dim=-1, keepdim=True)).transpose(-1, -2)
        best = logits.masked_fill(torch.eye(T, dtype=torch.bool), -torch.inf).argmax(-1, keepdim=True)
        dense = expected_output(attention, x, torch.ones(1, H, T, T))
        rotations = draw_rotations(seed, E, max(rounds), attention.factors)
        buckets = assign_buckets(query, rotations, attention.factors)
        for place, n_hashes in enumerate(rounds):
            output = attention(x, Context(replay=buckets[:, :, :n_hashes])).hidden
            error[place] += (output - dense).detach().pow(2).mean() / seeds
            chunk = sort_by_bucket(buckets[:, :, :n_hashes])[1] // 8
            of_best = chunk.gather(-1, best.squeeze(-1)[:, :, None].expand_as(chunk))
            found = ((chunk - of_best) // 2 == 0).any(2)
            recall[place] += found.double().mean() / seeds
    assert (recall.diff() >= 0).all()
    assert (error.diff() < 0).all()


def stack(
    n_layers: int, dtype: torch.dtype = torch.float64, shape: dict[str, Any] | None = None, **options: Any
) -> Stack:
    size = {"d_model": D, "n_heads": H, "d_ff": 8, "max_length": 16, "residual": "reversible"} | (shape or {})
    chosen = ReformerOptions(**({"bucket_size": 4, "n_hashes": 2} | options))
    backbone = REFORMER.build(chosen, ModelShape(n_layers=n_layers, **size))
    assert isinstance(backbone, Stack)
    return backbone.to(dtype)


Run = Callable[[Sequence[Block], Tensor, Sequence[Context]], tuple[Tensor, list[Any]]]


def gradients(run: Run, backbone: Stack, x: Tensor, contexts: Sequence[Context], seed: int = 5) -> list[Tensor]:
    """Input's and parameters' gradients, with the generator moved on between forward and backward."""
    torch.manual_seed(seed)
    x = x.clone().requires_grad_()
    hidden, _ = run(list(backbone.blocks), x, contexts)  # type: ignore[arg-type]
    torch.manual_seed(seed + 1)
    return list(torch.autograd.grad(hidden.sin().sum(), [x, *backbone.blocks.parameters()]))


def largest_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_r6_reversible_gradients_are_autograds_at_depth_24(dtype: torch.dtype, tolerance: float) -> None:
    backbone = stack(24, dtype)
    x = torch.randn(2, 11, D, dtype=dtype)
    # Buckets are given: in the twin nothing may depend on which side of an axis rounding falls.
    contexts = [Context(replay=torch.randint(8, (2, H, 2, 11))) for _ in range(24)]
    expected = gradients(run_two_streams, backbone, x, contexts)
    assert largest_difference(gradients(run_reversible, backbone, x, contexts), expected) < tolerance


def test_r6_inputs_are_reconstructed_through_96_layers() -> None:
    backbone = stack(96, torch.float32)
    seen: list[Tensor] = []
    first: Any = backbone.blocks[0]
    first.attention_norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    x = torch.randn(2, 11, D)
    backbone(x.requires_grad_()).hidden.sum().backward()
    in_forward, in_backward = seen
    assert 0 < (in_forward - in_backward).abs().max() < 1e-4


def test_r6_half_precision_streams_are_refused() -> None:
    backbone = stack(2, torch.bfloat16)
    with pytest.raises(ValueError, match="needs its streams in float32"):
        backbone(torch.randn(1, 5, D, dtype=torch.bfloat16))


@pytest.mark.parametrize("causal", [False, True])
def test_r7_training_with_dropout_and_hashing_gives_the_gradients_of_a_plain_twin(causal: bool) -> None:
    backbone = stack(4, shape={"dropout": 0.2, "causal": causal}, attention_dropout=0.2).train()
    x = torch.randn(2, 13, D, dtype=torch.float64)
    contexts = [Context(half_padded(13))] * 4
    expected = gradients(run_two_streams, backbone, x, contexts)
    assert largest_difference(gradients(run_reversible, backbone, x, contexts), expected) < 1e-10
    other_draw = gradients(run_two_streams, backbone, x, contexts, seed=8)
    assert largest_difference(other_draw, expected) > 1e-2


def test_r7_reconstruction_hashes_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = stack(3).train()
    hashed: list[int] = []

    def counted(query: Tensor, *rest: Any) -> Tensor:
        hashed.append(query.shape[2])
        return assign_buckets(query, *rest)

    monkeypatch.setattr("attention_arena_variants.reformer.attention.assign_buckets", counted)
    backbone(torch.randn(2, 9, D, dtype=torch.float64, requires_grad=True)).hidden.sum().backward()
    assert hashed == [9, 9, 9]


def saved_bytes(module: Callable[[Tensor], Any], x: Tensor, parameters: Iterator[Tensor]) -> int:
    """Bytes that autograd keeps for backward, each storage once, parameters apart."""
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(x)
    del output
    return sum(found.values())


def test_r8_depth_adds_next_to_nothing_to_what_is_kept_for_backward() -> None:
    x = torch.randn(1, 2048, 128, requires_grad=True)
    valid = torch.ones(1, 2048, dtype=torch.bool)
    kept = {}
    for residual, n_layers in itertools.product(("reversible", "plain"), (6, 24)):
        if (residual, n_layers) == ("plain", 24):
            continue
        shape = {"d_model": 128, "max_length": 2048, "residual": residual}
        backbone = stack(n_layers, torch.float32, shape, bucket_size=64, n_hashes=1)
        context = Context(valid)
        kept[residual, n_layers] = saved_bytes(partial(backbone, context=context), x, backbone.parameters())
    assert kept["reversible", 24] / kept["reversible", 6] < 1.1
    assert kept["plain", 6] > 3 * kept["reversible", 6]


def test_r8_rounds_add_little_to_what_a_layer_keeps_for_backward() -> None:
    x = torch.randn(1, 512, 64, requires_grad=True)
    kept = {}
    for n_hashes in (1, 4):
        shape = ModelShape(d_model=64, n_heads=1, max_length=512)
        attention = ReformerAttention(shape, ReformerOptions(bucket_size=16, n_hashes=n_hashes))
        kept[n_hashes] = saved_bytes(partial(attention, context=Context()), x, attention.parameters())
    # Scores of four rounds would be 4 x 512 x 32 floats; order, rank and code are 18 bytes a token and round.
    assert kept[4] - kept[1] <= 3 * 512 * 18


def test_r9_chunked_feed_forward_changes_nothing() -> None:
    options = ReformerOptions(bucket_size=4, n_hashes=2)
    x = torch.randn(2, 11, D, dtype=torch.float64)
    found = []
    for n_chunks in (1, 3):
        shape = ModelShape(d_model=D, n_heads=H, n_layers=2, max_length=16)
        shape = REFORMER.adapt_shape(options.model_copy(update={"feed_forward_chunks": n_chunks}), shape)  # type: ignore[misc]
        torch.manual_seed(1)
        backbone = REFORMER.build(options, shape).double()
        found.append(gradients(run_reversible, backbone, x, [Context()] * 2))  # type: ignore[arg-type]
        found[-1].append(backbone(x).hidden.detach())
    assert largest_difference(found[1], found[0]) < 1e-6


def test_r10_sorting_and_unsorting_is_the_identity_for_each_round() -> None:
    buckets = torch.randint(4, (3, 2, 9))
    order, rank = sort_by_bucket(buckets)
    for r in range(3):
        rows = torch.randn(2, 9, E, requires_grad=True)
        back = take(take(rows, order[r]), rank[r])
        assert torch.equal(back, rows)
        grad = torch.randn_like(rows)
        assert torch.equal(torch.autograd.grad(back, rows, grad)[0], grad)
        ids = take(buckets[r].unsqueeze(-1), order[r]).squeeze(-1)
        keys = ids * 9 + order[r]
        assert (keys.diff(dim=-1) > 0).all(), "tokens are sorted by bucket, then by position"


def test_gradients_are_numerically_right_with_dropped_probabilities() -> None:
    rules = Rules(chunk=3, causal=True, reach=1, coded=False, wrap=False, duplicate_correction=True)
    kept = torch.rand(2, 2, 3, 6) > 0.3
    layout = lay_out(torch.randint(4, (2, 2, 8)), 4, half_padded(8), rules, kept, ranked=False)
    parts = tuple(torch.randn(3, 2, 8, 4, dtype=torch.float64).requires_grad_().unbind())
    assert torch.autograd.gradcheck(lambda q, k, v: attend_in_chunks(q, k, v, layout, rules, 0.3), parts)


def test_the_logit_of_a_token_with_itself_has_no_gradient() -> None:
    # Queries so long that another key's logit is near -1e5 too, and both keys have weight.
    query = torch.tensor([[1e5, 2.0, 0.5], [-1.0, 0.3, 1e-5]], dtype=torch.float64).view(1, 2, 3).requires_grad_()
    value = torch.randn(1, 2, 3, dtype=torch.float64)
    rules = Rules(chunk=2, causal=False, reach=1, coded=False, wrap=False, duplicate_correction=True)
    layout = lay_out(torch.zeros(1, 1, 2, dtype=torch.int64), 2, None, rules, None, ranked=False)
    key = query / query.norm(dim=-1, keepdim=True)
    offset = torch.tensor([-1e5 - float((query[0, 0] * key[0, 1]).sum().detach()), 0.0], dtype=torch.float64)
    scaled = query + offset[:, None] * key.flip(1).detach()
    found = attend_in_chunks(scaled, key, value, layout, rules, 0.0)
    logits = torch.where(torch.eye(2, dtype=torch.bool), -1e5, scaled @ key.transpose(1, 2))
    expected = logits.softmax(-1) @ value
    assert 0.1 < logits.softmax(-1)[0, 0, 0] < 0.9
    gradient = torch.autograd.grad(found[0, 0].sum(), query, retain_graph=True)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(expected[0, 0].sum(), query)[0])


def test_dropout_keeps_the_mean_and_is_shared_over_chunks() -> None:
    attention = layer(attention_dropout=0.5, shape={"max_length": 32}).train()
    same = torch.randn(1, 1, D, dtype=torch.float64).expand(1, 32, D)
    outputs = torch.stack([attention(same, Context()).hidden for _ in range(200)])
    own = attention.project_out(attention.project_in(same)[..., D:])
    # 4 to 8 equal keys of which half are kept: a standard error of 0.03 relative over 200 draws and 8 chunks.
    assert ((outputs.mean((0, 2)) - own[:, 0]).norm() / own[:, 0].norm()) < 0.15
    torch.testing.assert_close(outputs[:, :, 8:12], outputs[:, :, 28:32])
    assert (outputs[:, :, 8] - outputs[:, :, 9]).abs().max() > 1e-2


@pytest.mark.parametrize("scores_at_once", [1, 300, 10**9])
def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch, scores_at_once: int) -> None:
    monkeypatch.setitem(chunks_module.SCORES_AT_ONCE, "cpu", scores_at_once)
    attention = layer(n_hashes=2)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    output = attention(x, Context())
    union = counts(output.replay, attention.options, False, None) > 0
    assert_same_function(attention, x, output.hidden, expected_output(attention, x, union.double()))


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


@pytest.mark.parametrize("options", [{}, {"within_bucket": True}, {"centred_hashing": True}, {"strict_causal": True}])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [2, 4, 7])
def test_padding_changes_nothing(options: dict[str, Any], causal: bool, length: int) -> None:
    attention = layer(causal or "strict_causal" in options, n_hashes=2, **options).eval()
    x = torch.randn(1, length, D, dtype=torch.float64)
    longer = torch.cat([x, torch.randn(1, 13 - length, D, dtype=torch.float64)], dim=1)
    valid = (torch.arange(13) < length)[None]
    found = attention(longer, Context(valid)).hidden[:, :length]
    torch.testing.assert_close(found, attention(x, Context()).hidden, atol=1e-10, rtol=0)


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


def test_evaluation_repeats_itself_and_training_draws_anew() -> None:
    attention = layer(n_hashes=1)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    assert not torch.equal(attention(x, Context()).replay, attention(x, Context()).replay)
    attention.eval()
    before = torch.get_rng_state()
    first, second = attention(x, Context()), attention(x, Context())
    assert torch.equal(first.hidden, second.hidden)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_draws_one_number_whether_or_not_buckets_are_given() -> None:
    attention = layer(n_hashes=2)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    states = []
    for replay in (None, attention(x, Context()).replay):
        torch.manual_seed(3)
        attention(x, Context(replay=replay))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_replayed_buckets_are_used_and_handed_on() -> None:
    attention = layer(n_hashes=2)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    first = attention(x, Context())
    again = attention(x, Context(replay=first.replay))
    assert again.replay is first.replay
    assert torch.equal(again.hidden, first.hidden)


def test_rounds_in_evaluation_may_differ_from_training() -> None:
    attention = layer(n_hashes=1, eval_hashes=4)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    assert attention.train()(x, Context()).replay.shape == (2, H, 1, 13)
    assert attention.eval()(x, Context()).replay.shape == (2, H, 4, 13)


def test_weights_trained_hashed_serve_full_attention() -> None:
    hashed, full = layer(n_hashes=2), layer(attention="full")
    full.load_state_dict(hashed.state_dict())
    assert torch.equal(full.project_in.weight, hashed.project_in.weight)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    assert_same_function(full, x, full(x, Context()).hidden, expected_output(full, x, torch.ones(2, H, 13, 13)))


def test_full_attention_without_shared_qk_is_softmax_attention() -> None:
    attention = layer(causal=True, attention="full", shared_qk=False)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    query, key, value = attention.project_in(x).view(2, 9, 3, H, E).permute(2, 0, 3, 1, 4)
    heads = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


def test_the_sqrt_scale_divides_logits_by_the_root_of_the_head_width() -> None:
    attention = layer(wrap=True, scale="sqrt")
    x = torch.randn(2, 8, D, dtype=torch.float64)
    query, value = heads_of(attention, x)
    heads = softmax_over(query, value, torch.ones(2, H, 8, 8), scale=E**-0.5)
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


def test_rotary_positions_turn_the_shared_vectors() -> None:
    attention = layer(wrap=True, shape={"positions": "rotary"})
    x = torch.randn(2, 8, D, dtype=torch.float64)
    query, value = heads_of(attention, x)
    heads = softmax_over(rotate(query), value, torch.ones(2, H, 8, 8))
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


def test_half_precision_comes_close_and_sorts_alike() -> None:
    attention = layer(n_hashes=2).float()
    x = torch.randn(2, 13, D)
    exact = attention(x, Context())
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            found = attention(x, Context(replay=exact.replay)).hidden
        assert (found.float() - exact.hidden).abs().max() < 2e-2 * exact.hidden.abs().max().clamp(min=1)


def test_extreme_inputs_stay_finite() -> None:
    for causal, scale in itertools.product((False, True), (0.0, 1e-20, 1e4)):
        attention = layer(causal, n_hashes=2).float()
        x = (scale * torch.randn(2, 13, D)).requires_grad_()
        hidden = attention(x, Context()).hidden
        hidden.sum().backward()
        assert hidden.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_centring_spreads_queries_that_share_a_component() -> None:
    loads = {}
    for centred in (False, True):
        torch.manual_seed(4)
        shape = {"d_model": 64, "max_length": 512}
        attention = layer(shape=shape, bucket_size=32, centred_hashing=centred).float().eval()
        query = torch.randn(1, H, 512, 32) + 5 * torch.randn(32)
        buckets = attention.hash(query, Context())
        loads[centred] = max(row.bincount().max().item() for row in buckets.long().flatten(0, 2))
    assert loads[True] < 512 / 32 * 3 < loads[False]


@pytest.mark.parametrize(
    ("n_buckets", "max_length", "factors"),
    [
        (None, 10, (2,)),
        (None, 65, (4,)),
        (None, 4096, (128,)),
        (None, 4097, (12, 12)),
        (6, 10, (6,)),
        (128, 10, (128,)),
        (256, 10, (16, 16)),
        (132, 10, (6, 22)),
    ],
)
def test_many_buckets_factorise_into_even_factors(
    n_buckets: int | None, max_length: int, factors: tuple[int, ...]
) -> None:
    assert choose_factors(n_buckets, max_length, 64) == factors


def test_factorised_hashing_combines_the_hashes_of_its_factors() -> None:
    factors = (16, 18)
    rotations = draw_rotations(2, 8, 3, factors)
    x = torch.randn(2, 2, 400, 8)
    first, second = (
        assign_buckets(x, part, (b,)) for part, b in zip(torch.split(rotations, [8, 9], dim=-1), factors, strict=True)
    )
    buckets = assign_buckets(x, rotations, factors)
    assert torch.equal(buckets, first + 16 * second)
    assert buckets.max() < 16 * 18
    assert len(buckets.flatten().bincount().nonzero()) > 128


def test_more_than_255_buckets_give_the_union_softmax_too() -> None:
    attention = layer(n_hashes=2, n_buckets=400, within_bucket=True)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    replay = torch.tensor([3, 200, 399])[torch.randint(3, (2, H, 2, 13))].to(torch.int16)
    union = counts(replay, attention.options, False, None) > 0
    output = attention(x, Context(replay=replay)).hidden
    assert_same_function(attention, x, output, expected_output(attention, x, union.double()))
    assert attention(x, Context()).replay.dtype == torch.int16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_buckets": 5}, "n_buckets must be even"),
        ({"n_buckets": 130}, "must be a multiple of 4"),
        ({"shared_qk": False}, "shared_qk: false needs attention: full"),
        ({"wrap": True, "within_bucket": True}, "wrap joins two different buckets"),
        ({"wrap": True, "strict_causal": True}, "wrap joins two different buckets"),
    ],
)
def test_switches_that_exclude_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReformerOptions(**options)


def test_strict_causal_is_refused_on_a_bidirectional_model() -> None:
    with pytest.raises(ValueError, match="strict_causal restricts causal attention"):
        REFORMER.build(ReformerOptions(strict_causal=True), ModelShape(max_length=8))


def test_the_shape_becomes_reversible_and_chunked_as_the_options_say() -> None:
    assert REFORMER.adapt_shape is not None
    shape = ModelShape(max_length=8, feed_forward_chunks=2)
    adapted = REFORMER.adapt_shape(ReformerOptions(), shape)
    assert (adapted.residual, adapted.feed_forward_chunks) == ("reversible", 2)
    adapted = REFORMER.adapt_shape(ReformerOptions(reversible=False, feed_forward_chunks=4), shape)
    assert (adapted.residual, adapted.feed_forward_chunks) == ("plain", 4)
    with pytest.raises(ValueError, match="needs norm: pre"):
        REFORMER.adapt_shape(ReformerOptions(), ModelShape(max_length=8, norm="post"))
