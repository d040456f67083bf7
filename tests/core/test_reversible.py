"""The reversible stack: its gradients are plain autograd's, its memory that of one block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.layers.reversible import Generators, run_reversible, run_two_streams
from attention_arena.variant import Context, ModelShape

D = 12


pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


class Averaging(Attention):
    """Mean of the valid tokens so far, mixed by a weight, with noise of its own; keeps its input as state."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.mix = nn.Linear(shape.d_model, shape.d_model)

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        seen = x if context.valid is None else x * context.valid[..., None]
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        mean = functional.dropout(seen.cumsum(1) / count, 0.3, self.training)
        return AttentionOutput(self.mix(mean), state=x.detach())


class Deciding(Attention):
    """Flips a coin per token, which only `replay` can repeat: it looks at no generator that is restored."""

    coins = torch.Generator().manual_seed(0)

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.mix = nn.Linear(shape.d_model, shape.d_model)

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        heads = context.replay
        if heads is None:
            heads = torch.rand(x.shape[:2], generator=self.coins) < 0.5
        return AttentionOutput(self.mix(x) * heads[..., None], replay=heads)


class HighPrecision(Attention):
    """Computes in float32 whatever autocast says."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape.d_model, shape.d_model) / shape.d_model**0.5)

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        with torch.autocast("cpu", enabled=False):
            return AttentionOutput(x.float() @ self.weight)


def stack(attention: type[Attention], n_layers: int = 4, **shape: Any) -> Stack:
    chosen = ModelShape(d_model=D, n_heads=2, n_layers=n_layers, d_ff=16, max_length=64, residual="reversible", **shape)
    return Stack(chosen, lambda layer: attention(chosen)).train()


def gradients(backbone: Stack, x: Tensor, context: Context = Context()) -> list[Tensor]:  # noqa: B008
    """Gradients of the input and all parameters; the generator moves on between forward and backward."""
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    hidden = backbone(x, context).hidden
    torch.manual_seed(4)
    return list(torch.autograd.grad(hidden.float().sin().sum(), [x, *backbone.parameters()]))


def both_gradients(backbone: Stack, x: Tensor, context: Context = Context()) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: B008
    backbone.residual = run_two_streams
    expected = gradients(backbone, x, context)
    backbone.residual = run_reversible
    return zip(gradients(backbone, x, context), expected, strict=True)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n_layers", [1, 6, 24])
def test_r6_gradients_are_those_of_plain_autograd(n_layers: int, dtype: torch.dtype, tolerance: float) -> None:
    backbone = stack(Averaging, n_layers, dropout=0.2, feed_forward_chunks=2).to(dtype)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 5:] = False
    for found, expected in both_gradients(backbone, torch.randn(2, 9, D, dtype=dtype), Context(valid)):
        assert relative(found, expected) < tolerance


def test_the_result_and_the_states_are_those_of_the_two_streams() -> None:
    backbone = stack(Averaging, dropout=0.2)
    x = torch.randn(2, 9, D, requires_grad=True)
    found = []
    for run in (run_two_streams, run_reversible):
        torch.manual_seed(1)
        found.append(run(list(backbone.blocks), x, [Context()] * 4))  # type: ignore[arg-type]
    assert torch.equal(found[0][0], found[1][0])
    for expected, state in zip(found[0][1], found[1][1], strict=True):
        assert isinstance(state, Tensor)
        assert isinstance(expected, Tensor)
        assert torch.equal(state, expected)
        assert not state.requires_grad


def test_without_gradients_the_result_is_the_same() -> None:
    backbone = stack(Averaging).eval()
    x = torch.randn(2, 9, D)
    expected = backbone(x).hidden
    with torch.no_grad():
        assert torch.equal(backbone(x).hidden, expected)


def test_r6_inputs_are_reconstructed_through_96_layers() -> None:
    backbone = stack(Averaging, 96)
    seen: list[Tensor] = []
    first: Any = backbone.blocks[0]
    first.attention_norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    backbone(torch.randn(2, 9, D, requires_grad=True)).hidden.sum().backward()
    in_forward, in_backward = seen
    assert 0 < (in_forward - in_backward).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_r6_half_precision_streams_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="needs its streams in float32 or float64"):
        stack(Averaging).to(dtype)(torch.randn(1, 3, D, dtype=dtype))


def test_a_decision_is_replayed_to_the_layer_that_took_it() -> None:
    backbone = stack(Deciding)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    backbone.double()
    Deciding.coins.manual_seed(1)
    backbone.residual = run_two_streams
    expected = gradients(backbone, x)
    Deciding.coins.manual_seed(1)
    backbone.residual = run_reversible
    for found, wanted in zip(gradients(backbone, x), expected, strict=True):
        assert relative(found, wanted) < 1e-12


def test_backward_leaves_the_generator_where_it_was() -> None:
    backbone = stack(Averaging, dropout=0.2)
    loss = backbone(torch.randn(2, 9, D, requires_grad=True)).hidden.sum()
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_replayed_generators_repeat_and_restore() -> None:
    device = torch.device("cpu")
    moment = Generators.of(device)
    drawn, following = torch.rand(3), torch.get_rng_state()
    with moment.replayed(device):
        assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(torch.get_rng_state(), following)


@pytest.mark.parametrize("attention", [Averaging, HighPrecision])
@pytest.mark.parametrize("inside", [False, True], ids=["backward after", "backward inside"])
def test_under_autocast_gradients_are_those_of_plain_autograd(attention: type[Attention], inside: bool) -> None:
    backbone = stack(attention)
    x = torch.randn(2, 9, D)
    found = []
    for run in (run_two_streams, run_reversible):
        backbone.residual = run
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = backbone(x).hidden.float().sin().sum()
            if inside:
                gradient = torch.autograd.grad(loss, list(backbone.parameters()))
        found.append(gradient if inside else torch.autograd.grad(loss, list(backbone.parameters())))
    for expected, gradient in zip(*found, strict=True):
        assert relative(gradient, expected) < 1e-5


def test_frozen_parameters_get_no_gradient_and_the_others_do() -> None:
    backbone = stack(Averaging).double()
    backbone.get_parameter("blocks.1.feed_forward.widen.weight").requires_grad_(False)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    found = []
    for run in (run_two_streams, run_reversible):
        backbone.residual = run
        backbone.zero_grad()
        torch.manual_seed(3)
        backbone(x).hidden.sin().sum().backward()
        found.append({name: p.grad for name, p in backbone.named_parameters()})
    assert found[1]["blocks.1.feed_forward.widen.weight"] is None
    for name, expected in found[0].items():
        if expected is not None:
            assert relative(found[1][name], expected) < 1e-12  # type: ignore[arg-type]


def test_a_block_used_twice_adds_up_its_gradients() -> None:
    backbone = stack(Averaging, 2).double().eval()
    blocks = [backbone.blocks[0], backbone.blocks[1], backbone.blocks[0]]
    x = torch.randn(2, 9, D, dtype=torch.float64)
    found = []
    for run in (run_two_streams, run_reversible):
        hidden, _ = run(blocks, x, [Context()] * 3)  # type: ignore[arg-type]
        parameters = list(backbone.blocks.parameters())
        found.append(torch.autograd.grad(hidden.sin().sum(), parameters))
    for expected, gradient in zip(*found, strict=True):
        assert relative(gradient, expected) < 1e-12


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    x = torch.randn(1, 5, D, requires_grad=True)
    loss = stack(Averaging)(x).hidden.sin().sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, x, create_graph=True)


def kept_for_backward(backbone: Stack, x: Tensor, context: Context) -> list[Tensor]:
    own = {parameter.untyped_storage().data_ptr() for parameter in backbone.parameters()}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = backbone(x, context)
    del output
    return kept


def test_r8_depth_adds_only_the_generators_states_to_what_is_kept() -> None:
    x = torch.randn(1, 50, D, requires_grad=True)
    valid = torch.ones(1, 50, dtype=torch.bool)
    kept = [
        sum(tensor.nbytes for tensor in kept_for_backward(stack(Averaging, n_layers), x, Context(valid)))
        for n_layers in (6, 24)
    ]
    assert kept[1] - kept[0] == 18 * 2 * torch.get_rng_state().nbytes


def test_a_mask_that_all_blocks_share_is_kept_once() -> None:
    x = torch.randn(1, 50, D, requires_grad=True)
    valid = torch.ones(1, 50, dtype=torch.bool)
    kept = kept_for_backward(stack(Averaging, 6), x, Context(valid))
    assert sum(tensor.dtype == torch.bool for tensor in kept) == 1
