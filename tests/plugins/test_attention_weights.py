"""Attention weights are those of the formula, for every variant, whatever form computes its heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.catalogue import load_catalogue
from attention_arena.layers import Attention, HeadAttention, NoWeightsError
from attention_arena.layers.block import Block
from attention_arena.testing.trial import MAX_LENGTH, Trial, blocks_of, inputs, landmarks, trials
from attention_arena.variant import Context
from attention_arena_variants.performer.attention import PerformerAttention
from attention_arena_variants.reformer.attention import ReformerAttention, attend_fully, count_rounds, unit_key
from attention_arena_variants.transformer_xl.plain import attend_plainly

T = MAX_LENGTH
N_VALID = 9
WITHOUT = ("max", "convolution")
"""Linformer's projections that are no one matrix per head."""


def _cases() -> Iterator[Any]:
    for name, variant in load_catalogue().variants.items():
        for index, given in enumerate(variant.check_options):
            for trial in trials(variant, variant.options(**given)):
                direction = "causal" if trial.shape.causal else "bidirectional"
                yield pytest.param(trial, given, id=f"{name}-{index}-{direction}")


def _context(padded: bool = True) -> Context:
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, N_VALID:] = False
    return Context(valid if padded else None, landmarks(2, T))


def _blocks(name: str, causal: bool, **options: Any) -> list[Block]:
    variant = load_catalogue().variant(name)
    [trial] = trials(variant, variant.options(**options), causal=causal)
    return list(blocks_of(trial.backbone()))


def _require_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-6)


def _weights(block: Block, x: Tensor, context: Context) -> Tensor:
    return block.attention.weights_raw(x, block.attention_norm, context)


def _softmax(query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
    """Return softmax(query key^T / sqrt(E)) over the pairs allowed, all (B, H, T, ...)."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    weights: Tensor = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return weights.masked_fill(~allowed.any(-1, keepdim=True), 0.0)


def _heads(attention: Attention, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assert isinstance(attention, HeadAttention)
    query, key, value = attention._heads(normed, 0)
    return query, key, value


@pytest.mark.parametrize(("trial", "given"), list(_cases()))
def test_weights_see_real_keys_alone_and_nothing_later(trial: Trial, given: dict[str, Any]) -> None:
    x, context = inputs(2, T), _context()
    for block in blocks_of(trial.backbone()):
        if given.get("projection") in WITHOUT:
            with pytest.raises(NoWeightsError, match="not one matrix per head"):
                _weights(block, x, context)
            continue
        weights = _weights(block, x, context)
        assert weights.shape == (2, trial.shape.n_heads, T, T)
        assert not weights[1, :, :, N_VALID:].any()
        if trial.shape.causal:
            assert not weights.triu(1).any()
        if trial.variant.name != "linformer":
            sums = weights.sum(-1)
            _require_same(sums[0], torch.ones_like(sums[0]))
            _require_same(sums[1, :, :N_VALID], torch.ones_like(sums[1, :, :N_VALID]))


@pytest.mark.parametrize(("trial", "given"), list(_cases()))
def test_weights_times_values_are_what_the_layer_returns(trial: Trial, given: dict[str, Any]) -> None:
    x, context = inputs(2, T), _context()
    for block in blocks_of(trial.backbone()):
        attention = block.attention
        if not isinstance(attention, HeadAttention) or given.get("projection") in WITHOUT:
            continue
        normed = block.attention_norm(x)
        output = attention(normed, context)
        _, _, value = _heads(attention, normed)
        repeated = context if output.replay is None else context._replace(replay=output.replay)
        heads = attention.weights(normed, repeated) @ value
        real = context.valid
        assert real is not None
        _require_same(attention._merge(heads)[real], output.hidden[real])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("implementation", ["fused", "naive"])
def test_softmax_has_the_weights_of_its_formula(implementation: str, causal: bool) -> None:
    [block, _] = _blocks("softmax", causal, implementation=implementation)
    x, context = inputs(2, T), _context()
    assert context.valid is not None
    query, key, _ = _heads(block.attention, block.attention_norm(x))
    allowed = context.valid[:, None, None, :].expand(2, 2, T, T)
    expected = _softmax(query, key, allowed.tril() if causal else allowed)
    _require_same(_weights(block, x, context), expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"stride": 4, "combination": "multihead"}, {"pattern": "fixed", "stride": 4, "summary_width": 2}],
    ids=["strided", "fixed"],
)
def test_sparse_attention_has_the_weights_of_its_pattern(options: dict[str, Any], causal: bool) -> None:
    x, positions = inputs(2, T), torch.arange(T)
    for block in _blocks("sparse", causal, **options):
        query, key, _ = _heads(block.attention, block.attention_norm(x))
        allowed = block.attention.allowed(positions, positions)  # type: ignore[operator]
        expected = _softmax(query, key, allowed.expand(2, 2, T, T))
        _require_same(_weights(block, x, Context()), expected)


@pytest.mark.parametrize("sharing", ["none", "headwise", "layerwise"])
def test_linformer_has_the_weights_of_its_slots_times_its_projection(sharing: str) -> None:
    [block, _] = _blocks("linformer", False, rank=5, sharing=sharing)
    x = inputs(2, T)
    query, key, _ = _heads(block.attention, block.attention_norm(x))
    of_key, of_value = (getattr(block.attention, f"{name}_projection").matrix for name in ("key", "value"))
    slots = _softmax(query, of_key[..., :T] @ key, torch.ones(2, 2, T, 5, dtype=torch.bool))
    _require_same(_weights(block, x, Context()), slots @ of_value[..., :T])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", ["positive", "hyperbolic", "trigonometric", "relu"])
def test_performer_has_the_weights_of_its_kernel(kernel: str, causal: bool) -> None:
    [block, _] = _blocks("performer", causal, kernel=kernel, n_features=24)
    attention, x = block.attention, 0.3 * inputs(2, T)
    assert isinstance(attention, PerformerAttention)
    query, key, _ = _heads(attention, x)
    directions, features = attention.directions.current, attention.rules.kernel
    matrix = features.phi(query, directions) @ features.phi(key, directions).mT
    matrix = matrix.tril() if causal else matrix
    expected = matrix / matrix.sum(-1, keepdim=True)
    torch.testing.assert_close(attention.weights(x, Context()), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_longformer_has_the_weights_of_windows_and_of_global_rows(causal: bool) -> None:
    [block, _] = _blocks("longformer", causal, window=4)
    x, context = inputs(2, T), _context()
    assert context.valid is not None
    assert context.landmarks is not None
    attention, normed = block.attention, block.attention_norm(x)
    with torch.no_grad():
        attention.project_globally.weight.normal_(generator=torch.Generator().manual_seed(3))  # type: ignore[union-attr, operator]
    marked = context.landmarks & context.valid
    seen = (attention.pattern.in_sight(T, x.device) & context.valid[:, None, None, :]).expand(2, 2, T, T)  # type: ignore[union-attr, operator]
    near = seen & (attention.pattern.in_window(T, x.device) | marked[:, None, None, :])  # type: ignore[union-attr, operator]

    def weights(project: Any, allowed: Tensor) -> Tensor:
        query, key, _ = project(normed).view(2, T, 3, 2, -1).permute(2, 0, 3, 1, 4)
        return _softmax(query, key, allowed)

    everywhere = weights(attention.project_globally, seen)
    expected = torch.where(marked[:, None, :, None], everywhere, weights(attention.project_in, near))
    found = attention.weights(normed, context)
    _require_same(found[:, :, :N_VALID], expected[:, :, :N_VALID])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", ["lsh", "full"])
def test_reformer_has_the_weights_of_the_union_of_its_rounds(attention: str, causal: bool) -> None:
    [block, _] = _blocks("reformer", causal, bucket_size=3, n_hashes=2, attention=attention)
    layer, x, context = block.attention, inputs(2, T), _context()
    assert isinstance(layer, ReformerAttention)
    normed = block.attention_norm(x)
    query = layer.project_in(normed).view(2, T, 2, 2, -1)[:, :, 0].transpose(1, 2)
    times = torch.ones(2, 2, T, T)
    if attention == "lsh":
        times = count_rounds(layer.hash(query, context), layer.options, causal, context.valid)
    elif causal:
        times = times.tril()
    assert context.valid is not None
    times = times * context.valid[:, None, None, :]
    # Of values that are the identity, the plain form returns its weights.
    identity = torch.eye(T, dtype=x.dtype).expand(2, 2, T, T)
    expected = attend_fully(query, unit_key(query) * layer.scale, identity, times, shared=True)
    _require_same(layer.weights(normed, context), expected)


def test_reformer_has_the_weights_of_the_buckets_that_its_forward_drew() -> None:
    [block, _] = _blocks("reformer", False, bucket_size=3)
    x, layer = inputs(2, T), block.attention.train()
    drawn = [layer(x, Context()).replay for _ in range(2)]
    first, second = (layer.weights(x, Context(replay=replay)) for replay in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(first, layer.weights(x, Context(replay=drawn[0])))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(("causal", "n_before"), [(False, 0), (True, 0), (True, 5)])
def test_transformer_xl_has_weights_over_memory_and_segments(causal: bool, n_before: int) -> None:
    variant = load_catalogue().variant("transformer_xl")
    options = variant.options.model_validate({"segment_length": 5, "memory": 5})
    [trial] = trials(variant, options, causal=causal, d_model=48, max_length=T)
    [block, _] = blocks_of(trial.backbone())
    layer, x = block.attention, inputs(2, n_before + T, width=48)
    memory = layer.forward_raw(x[:, :n_before], block.attention_norm, Context()).state if n_before else None
    weights = layer.weights_raw(x[:, n_before:], block.attention_norm, Context(state=memory))
    S = n_before + T
    assert weights.shape == (2, 2, T, S)
    _require_same(weights.sum(-1), torch.ones(2, 2, T, dtype=x.dtype))
    # With heads as wide as there are keys, the plain form over values that are the identity returns its weights.
    normed = block.attention_norm(x)
    query = layer.project_query(normed[:, n_before:]).unflatten(-1, (2, -1))  # type: ignore[operator]
    key = layer.project_key_value(normed).view(2, S, 2, 2, -1)[:, :, 0]  # type: ignore[operator]
    windows = layer._windows(n_before, T)  # type: ignore[operator]
    identity = functional.pad(torch.eye(S, dtype=x.dtype), (0, 24 - S)).expand(2, 2, S, 24).transpose(1, 2)
    positions = layer.terms.positions(windows.longest, windows.furthest + 1, x.dtype, x.device)  # type: ignore[union-attr, operator]
    keys = torch.stack([key, identity], dim=2)
    expected = attend_plainly(query, keys, keys, positions, windows)[..., :S].transpose(1, 2)
    _require_same(weights, expected)
