"""The feed-forward layer: whole and in chunks it is one function, and chunks hold a part of its activations."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import FeedForward
from attention_arena.variant import ModelShape

B, T, D, F = 2, 13, 6, 20


pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(n_chunks: int, **shape: Any) -> FeedForward:
    chosen = ModelShape(d_model=D, d_ff=F, max_length=T, feed_forward_chunks=n_chunks, **shape)
    return FeedForward(chosen).double()


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("gelu", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        ("quick_gelu", lambda x: x / (1 + (-1.702 * x).exp())),
    ],
)
def test_it_is_two_linear_maps_around_the_activation(activation: str, function: Any) -> None:
    whole = layer(1, activation=activation)
    x = torch.randn(B, T, D, dtype=torch.float64)
    inner = function(x @ whole.widen.weight.T + whole.widen.bias)
    torch.testing.assert_close(whole(x), inner @ whole.narrow.weight.T + whole.narrow.bias)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("n_chunks", [2, 5, 13, 40])
def test_r9_chunks_change_nothing(n_chunks: int, grad: bool) -> None:
    whole, chunked = layer(1), layer(n_chunks)
    chunked.load_state_dict(whole.state_dict())
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    with torch.set_grad_enabled(grad):
        expected, found = whole(x), chunked(x)
    assert (found - expected).abs().max() < 1e-12
    if not grad:
        return
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((found * weights).sum(), [x, *chunked.parameters()])
    for gradient, wanted in zip(
        gradients, torch.autograd.grad((expected * weights).sum(), [x, *whole.parameters()]), strict=True
    ):
        assert (gradient - wanted).abs().max() < 1e-12 * wanted.abs().max() * T


def largest_inner_activation(n_chunks: int) -> int:
    """Most elements of (B, T, F) activations alive at a time in a forward and a backward pass."""
    chunked = layer(n_chunks, activation="relu")
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def watch(_: object, __: object, output: Tensor) -> None:
        nonlocal most
        alive.append(weakref.ref(output))
        storages = [tensor for reference in alive if (tensor := reference()) is not None]
        most = max(most, sum(tensor.numel() for tensor in storages))

    chunked.widen.register_forward_hook(watch)
    chunked(torch.randn(B, 24, D, dtype=torch.float64, requires_grad=True)).sum().backward()
    return most


@pytest.mark.parametrize("n_chunks", [2, 3, 8])
def test_r9_activations_alive_at_a_time_fall_with_the_number_of_chunks(n_chunks: int) -> None:
    assert largest_inner_activation(1) == B * 24 * F
    assert largest_inner_activation(n_chunks) == B * math.ceil(24 / n_chunks) * F


def test_r9_chunks_keep_no_inner_activation_for_backward() -> None:
    kept: dict[int, list[tuple[int, ...]]] = {}
    for n_chunks in (1, 3):
        shapes = kept.setdefault(n_chunks, [])
        chunked = layer(n_chunks)

        def pack(tensor: Tensor, shapes: list[tuple[int, ...]] = shapes) -> Tensor:
            shapes.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = chunked(torch.randn(B, T, D, dtype=torch.float64, requires_grad=True))
        del output
    inner = {
        n_chunks: [shape for shape in shapes if shape[-1] == F and shape != (D, F)] for n_chunks, shapes in kept.items()
    }
    assert inner[1]
    assert not inner[3]
