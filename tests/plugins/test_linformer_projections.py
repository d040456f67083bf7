"""Linformer's projections of the length: what each kind computes, what is shared, and how weights start."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Stack
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.linformer import LinformerOptions, build
from attention_arena_variants.linformer.projections import (
    KINDS,
    ConvolutionProjection,
    LinearProjection,
    MaxProjection,
    MeanProjection,
    Projection,
    shorten,
)

N = 13
D, H = 8, 2
SHAPE = ModelShape(d_model=D, n_heads=H, max_length=N)
LENGTHS = pytest.mark.parametrize("T", [1, 3, 7, 12, 13])
RANKS = pytest.mark.parametrize("rank", [3, 8, 13])
KIND = pytest.mark.parametrize("kind", list(KINDS))
OWN = pytest.mark.parametrize("own_per_head", [False, True])

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def projection(kind: str, rank: int, own_per_head: bool = False) -> Projection:
    return KINDS[kind](SHAPE, rank, own_per_head).double()


def rows_of(B: int, T: int) -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)


def ragged(B: int, T: int) -> Tensor:
    """Rows of T, T - 2 and no tokens, the first with a hole."""
    valid = torch.arange(T) < torch.tensor([T, max(T - 2, 1), 0])[:B, None]
    valid[0, T // 2] = T == 1
    return valid


def stack(shape: dict[str, Any], **options: Any) -> Stack:
    backbone = build(LinformerOptions(**options), ModelShape(**({"max_length": N, "d_ff": 4} | shape)))
    assert isinstance(backbone, Stack)
    return backbone


def lengthwise(backbone: Stack) -> dict[int, nn.Parameter]:
    """The parameters of all projections of the length, each once."""
    projections = (module for module in backbone.modules() if isinstance(module, Projection))
    return {id(parameter): parameter for module in projections for parameter in module.parameters()}


@pytest.mark.parametrize(
    ("sharing", "n_matrices"), [("none", 288), ("headwise", 24), ("key_value", 12), ("layerwise", 1)]
)
def test_l3_twelve_layers_of_twelve_heads_have_the_papers_number_of_matrices(sharing: str, n_matrices: int) -> None:
    """L3: 2 H N, 2 N, N and 1 matrices of R x max_length; a convolution has as many kernels for each channel."""
    shape = {"d_model": 48, "n_heads": 12, "n_layers": 12}
    for kind, size in (("linear", 4 * N), ("convolution", 4 * 4)):
        backbone = stack(shape, rank=4, projection=kind, sharing=sharing)
        without = stack(shape, rank=4, projection="mean", sharing=sharing)
        assert sum(parameter.numel() for parameter in lengthwise(backbone).values()) == n_matrices * size
        totals = [sum(parameter.numel() for parameter in model.parameters()) for model in (backbone, without)]
        assert totals[0] - totals[1] == n_matrices * size


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pooling_has_no_parameters_whatever_the_sharing(kind: str) -> None:
    for sharing in ("none", "headwise", "key_value", "layerwise"):
        assert not lengthwise(stack({}, rank=4, projection=kind, sharing=sharing))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_what_layers_share_is_one_object_and_stays_so(kind: str) -> None:
    """Through a state dict, bit-equal, through a copy, and through a step of training."""
    backbone = stack({"n_layers": 3}, rank=4, projection=kind, sharing="layerwise")
    file = io.BytesIO()
    torch.save(backbone.state_dict(), file)
    file.seek(0)
    loaded = stack({"n_layers": 3}, rank=4, projection=kind, sharing="layerwise")
    loaded.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(2, N, 64)
    assert torch.equal(loaded(x).hidden, backbone(x).hidden)
    for model in (backbone, loaded, copy.deepcopy(backbone)):
        assert len(lengthwise(model)) == 1
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(x).hidden.sin().sum().backward()
        optimizer.step()
        first, *others = (
            part.state_dict()
            for block in model.blocks
            for part in (block.attention.key_projection, block.attention.value_projection)
        )
        assert len(others) == 5
        assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_each_layer_may_have_a_rank_of_its_own() -> None:
    backbone = stack({"n_layers": 3}, rank=[7, 4, 2], sharing="none")
    slots = [block.attention.key_projection.n_slots for block in backbone.blocks]
    assert slots == [7, 4, 2]
    assert backbone(torch.randn(2, N, 64)).hidden.shape == (2, N, 64)


@LENGTHS
@RANKS
@pytest.mark.parametrize("padded", [False, True])
def test_l4_the_mean_is_a_fixed_matrix(T: int, rank: int, padded: bool) -> None:
    """L4: 1 / P where position t is in window t // P; the same slots and gradients at every length and padding."""
    mean = projection("mean", rank)
    assert isinstance(mean, MeanProjection)
    P = -(-N // rank)
    matrix = torch.zeros(mean.n_slots, N, dtype=torch.float64)
    for t in range(N):
        matrix[t // P, t] = 1 / P
    linear = LinearProjection(SHAPE, mean.n_slots, own_per_head=False)
    linear.matrix = nn.Parameter(matrix[None])
    rows, valid = rows_of(3, T), ragged(3, T) if padded else None
    found, expected = mean(rows, valid), linear(rows, valid)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = (torch.autograd.grad(slots.sin().sum(), rows)[0] for slots in (found, expected))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_l4_so_a_layer_of_means_is_a_linear_one() -> None:
    layers = [
        stack({"n_layers": 1}, rank=4, projection=kind).double().blocks[0].attention for kind in ("mean", "linear")
    ]
    of_mean, of_linear = layers
    matrix = of_mean.key_projection(torch.eye(N, dtype=torch.float64)[None])[0]
    weights = {f"{part}_projection.matrix": matrix[None] for part in ("key", "value")}
    of_linear.load_state_dict({**of_mean.state_dict(), **weights})
    x = torch.randn(2, 11, 64, dtype=torch.float64)
    valid = torch.arange(11) < torch.tensor([[11], [7]])
    found, expected = (attention(x, Context(valid)).hidden for attention in layers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@LENGTHS
@RANKS
@pytest.mark.parametrize("padded", [False, True])
def test_the_maximum_is_over_valid_positions_and_zero_without_any(T: int, rank: int, padded: bool) -> None:
    """Window by window. Rows are all negative, so that a zero of padding would win."""
    of_max = projection("max", rank)
    assert isinstance(of_max, MaxProjection)
    rows = -rows_of(3, T).abs() - 1
    valid = ragged(3, T) if padded else torch.ones(3, T, dtype=torch.bool)
    found = of_max(rows, valid if padded else None)
    P = -(-N // rank)
    for b in range(3):
        for slot in range(of_max.n_slots):
            inside = [t for t in range(slot * P, min(slot * P + P, T)) if valid[b, t]]
            expected = rows[b, inside].amax(0) if inside else torch.zeros(D, dtype=torch.float64)
            assert torch.equal(found[b, slot], expected)


@LENGTHS
@RANKS
@OWN
@pytest.mark.parametrize("padded", [False, True])
def test_the_convolution_is_a_depthwise_one(T: int, rank: int, own_per_head: bool, padded: bool) -> None:
    """Against PyTorch's, over rows of zeros up to a whole number of windows."""
    convolution = projection("convolution", rank, own_per_head)
    assert isinstance(convolution, ConvolutionProjection)
    assert convolution.weight.shape[1] == (H if own_per_head else 1)
    P, R = convolution.window, convolution.n_slots
    rows, valid = rows_of(3, T), ragged(3, T) if padded else None
    real = rows if valid is None else rows * valid[..., None]
    weight = convolution.weight.expand(-1, H, -1).flatten(1)  # (P, D)
    whole = functional.pad(real, (0, 0, 0, R * P - T)).mT  # (B, D, R P)
    expected = functional.conv1d(whole, weight.T.unsqueeze(1), stride=P, groups=D).mT
    found = convolution(rows, valid)
    for one, other in zip(
        (found, *torch.autograd.grad(found.sin().sum(), [rows, convolution.weight])),
        (expected, *torch.autograd.grad(expected.sin().sum(), [rows, convolution.weight])),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@LENGTHS
@OWN
@pytest.mark.parametrize("padded", [False, True])
def test_the_matrix_multiplies_rows_head_by_head(T: int, own_per_head: bool, padded: bool) -> None:
    linear = projection("linear", 5, own_per_head)
    assert isinstance(linear, LinearProjection)
    rows, valid = rows_of(3, T), ragged(3, T) if padded else None
    real = rows if valid is None else rows * valid[..., None]
    by_head = [
        linear.matrix[head if own_per_head else 0, :, :T] @ real[..., head * D // H : (head + 1) * D // H]
        for head in range(H)
    ]
    found, expected = linear(rows, valid), torch.cat(by_head, dim=-1)
    for one, other in zip(
        (found, *torch.autograd.grad(found.sin().sum(), [rows, linear.matrix])),
        (expected, *torch.autograd.grad(expected.sin().sum(), [rows, linear.matrix])),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@KIND
@RANKS
@OWN
def test_padding_is_as_if_the_row_ended(kind: str, rank: int, own_per_head: bool) -> None:
    """At every length, whether or not the window divides it; padding holds huge values. Equal to rounding."""
    shortens = projection(kind, rank, own_per_head)
    for T in range(1, N + 1):
        for real in range(1, T + 1):
            rows = rows_of(2, T).detach()
            rows[:, real:] *= 1e6
            found = shortens(rows, torch.arange(T).expand(2, T) < real)
            torch.testing.assert_close(found, shortens(rows[:, :real]), rtol=0, atol=1e-12)


@KIND
@RANKS
def test_slots_number_the_rank_or_the_windows_of_the_longest_input(kind: str, rank: int) -> None:
    """13 positions and rank 8 make windows of 2, which are 7: an eighth slot would see no position of any input."""
    shortens = projection(kind, rank)
    expected = {3: 3, 8: 7, 13: 13}[rank] if kind != "linear" else rank
    assert shortens.n_slots == expected
    assert all(shortens(rows_of(2, T)).shape == (2, expected, D) for T in (1, 6, N))
    assert (shortens(rows_of(2, N)) != 0).any(-1).all()


@pytest.mark.parametrize("kind", ["mean", "max", "convolution"])
def test_windows_behind_the_end_give_zero_slots(kind: str) -> None:
    slots = projection(kind, 5)(rows_of(2, 4))  # windows of 3: one whole, one of a single position, three of none
    assert slots[:, :2].all()
    assert not slots[:, 2:].any()


def test_the_gradient_of_columns_beyond_the_input_is_zero() -> None:
    linear = projection("linear", 5)
    linear(rows_of(2, 7)).sin().sum().backward()
    (gradient,) = (parameter.grad for parameter in linear.parameters())
    assert gradient is not None
    assert gradient[..., :7].all()
    assert not gradient[..., 7:].any()


@pytest.mark.parametrize("G", [1, 2])
def test_shortening_has_the_gradients_of_a_product(G: int) -> None:
    matrix = torch.randn(G, 3, 7, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(4, G, 7, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shorten, (matrix, rows))
    torch.testing.assert_close(shorten(matrix, rows), matrix @ rows)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@OWN
def test_slots_start_with_the_scale_of_their_rows(kind: str, own_per_head: bool) -> None:
    """Rows of variance 1 give slots of variance max_length / (R + max_length), 0.94, by a matrix and 1 by windows.

    A convolution shared by heads has 512 weights, whose mean square is within 4 % of theirs one time in three.
    """
    shape = ModelShape(d_model=64, n_heads=2, max_length=1024)
    shortens = KINDS[kind](shape, 64, own_per_head)
    variance = shortens(torch.randn(4, 1024, 64)).var().item()
    expected, tolerance = (1024 / 1088, 0.05) if kind == "linear" else (1.0, 0.15)
    assert variance == pytest.approx(expected, rel=tolerance)
