"""Reformer's reversible stack and chunked feed-forward (R6 to R9)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Stack
from attention_arena.layers.block import Block
from attention_arena.layers.reversible import run_reversible, run_two_streams
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import REFORMER
from attention_arena_variants.reformer.attention import ReformerAttention
from attention_arena_variants.reformer.hashing import assign_buckets
from attention_arena_variants.reformer.options import ReformerOptions

H, E = 2, 6
D = H * E

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def half_padded(T: int) -> Tensor:
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, (T + 1) // 2 :] = False
    return valid


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
    # Scores of three rounds would be 3 x 512 x 32 floats; order and code are 4 bytes a token and round, and the first
    # round alone needs no code.
    assert kept[4] - kept[1] == 512 * (4 * 4 - 2)


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


def test_the_shape_becomes_reversible_and_chunked_as_the_options_say() -> None:
    assert REFORMER.adapt_shape is not None
    shape = ModelShape(max_length=8, feed_forward_chunks=2)
    adapted = REFORMER.adapt_shape(ReformerOptions(), shape)
    assert (adapted.residual, adapted.feed_forward_chunks) == ("reversible", 2)
    adapted = REFORMER.adapt_shape(ReformerOptions(reversible=False, feed_forward_chunks=4), shape)
    assert (adapted.residual, adapted.feed_forward_chunks) == ("plain", 4)
    with pytest.raises(ValueError, match="norm must be pre for a reversible stack, got post; set norm: pre, or"):
        REFORMER.adapt_shape(ReformerOptions(), ModelShape(max_length=8, norm="post"))
