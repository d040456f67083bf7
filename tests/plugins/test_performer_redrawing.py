"""When Performer draws its directions anew, what a repeated forward sees, and what the options refuse."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from attention_arena import build_attention
from attention_arena.layers import Stack
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.performer import PERFORMER, PerformerOptions
from attention_arena_variants.performer.redrawing import Directions

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def directions(interval: int, seed: int = 0) -> Directions:
    torch.manual_seed(seed)
    return Directions(lambda generator: torch.randn(1, 3, 4, generator=generator), interval)


def redraws(module: Directions, n: int) -> list[int]:
    """Return which of the next `n` forwards, counted from 0, had other directions than the one before."""
    before, found = module.current, []
    for step in range(n):
        now = module.for_forward()
        if not torch.equal(now, before):
            found.append(step)
        before = now
    return found


def stack(residual: str = "plain", seed: int = 0, **options: Any) -> Stack:
    torch.manual_seed(seed)
    shape = ModelShape(d_model=8, d_ff=8, max_length=16, residual=residual)
    backbone = PERFORMER.build(PerformerOptions(**({"n_features": 6, "redraw_interval": 1} | options)), shape)
    assert isinstance(backbone, Stack)
    return backbone.double()


def current(backbone: Stack) -> list[Tensor]:
    return [buffer for name, buffer in backbone.named_buffers() if name.endswith("directions.current")]


def tokens(seed: int = 1) -> Tensor:
    return torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_p10_directions_change_when_it_is_time_and_only_then() -> None:
    """After every 3 forwards of training."""
    assert redraws(directions(3), 10) == [3, 6, 9]


def test_p10_evaluation_draws_nothing_and_counts_nothing() -> None:
    """No redraw in evaluation, however many forwards, nor is the next one of training closer."""
    module = directions(3)
    assert redraws(module, 2) == []
    assert redraws(module.eval(), 20) == []
    assert redraws(module.train(), 3) == [1]


def test_p10_an_interval_of_zero_draws_never_again() -> None:
    assert redraws(directions(0), 50) == []


@pytest.mark.parametrize("interval", [0, None])
def test_p10_a_layer_without_an_interval_keeps_its_directions(interval: int | None) -> None:
    """With an interval of 2 the third forward has others."""
    for redraw_interval, changes in ((interval, False), (2, True)):
        backbone = stack(redraw_interval=redraw_interval)
        before = [buffer.clone() for buffer in current(backbone)]
        for _ in range(3):
            backbone(tokens())
        after = current(backbone)
        assert all(torch.equal(one, other) != changes for one, other in zip(before, after, strict=True))


def test_redrawing_leaves_the_global_generator_alone() -> None:
    module = directions(1)
    before = torch.get_rng_state()
    assert redraws(module, 3) == [1, 2]
    assert torch.equal(torch.get_rng_state(), before)


def test_one_seed_gives_one_series_of_draws_and_layers_differ() -> None:
    first, second, other = stack(), stack(), stack(seed=1)
    for _ in range(3):
        for backbone in (first, second, other):
            backbone(tokens())
        assert all(torch.equal(one, two) for one, two in zip(current(first), current(second), strict=True))
        assert not any(torch.equal(one, two) for one, two in zip(current(first), current(other), strict=True))
        top, bottom = current(first)
        assert not torch.equal(top, bottom)


def test_a_state_dict_goes_on_with_the_draws_of_the_saved_model() -> None:
    """At the same forwards, with the same directions, and in the dtype of the model that loads it."""
    source, target = stack(redraw_interval=3), stack(redraw_interval=3, seed=1)
    for _ in range(5):
        source(tokens())
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(7):
        assert torch.equal(source(tokens()).hidden, target(tokens()).hidden)
        assert all(torch.equal(one, other) for one, other in zip(current(source), current(target), strict=True))
    assert current(target)[0].dtype == torch.float64


def test_a_copy_draws_the_same() -> None:
    module = directions(2)
    twin = copy.deepcopy(module)
    for _ in range(5):
        assert torch.equal(module.for_forward(), twin.for_forward())


@pytest.mark.parametrize("residual", ["checkpointed", "reversible"])
def test_a_repeated_forward_has_the_directions_of_the_first(residual: str) -> None:
    """Two forwards before one backward, with a draw between them: both are repeated as they were."""
    backbone = stack(residual)
    x = tokens().requires_grad_()
    drawn = [current(backbone)]
    losses = []
    for _ in range(2):
        losses.append(backbone(x).hidden.sin().sum())
        drawn.append(current(backbone))
    (found,) = torch.autograd.grad(losses[0] + 2 * losses[1], [x])
    assert all(torch.equal(one, other) for one, other in zip(drawn[2], current(backbone), strict=True))
    assert not torch.equal(drawn[1][0], drawn[2][0])
    expected = torch.zeros_like(x)
    for weight, held in zip((1, 2), drawn[1:], strict=True):
        fixed = stack(residual, redraw_interval=0)
        for block, buffer in zip(fixed.blocks, held, strict=True):
            block.attention.directions.current.copy_(buffer)  # type: ignore[union-attr, operator]
        expected += weight * torch.autograd.grad(fixed(x).hidden.sin().sum(), [x])[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("residual", ["checkpointed", "reversible"])
def test_a_repeated_forward_counts_once(residual: str) -> None:
    """Training step by step, directions are those of a plain stack that repeats nothing."""
    repeating, plain = stack(residual, redraw_interval=3), stack(redraw_interval=3)
    for _ in range(5):
        repeating(tokens()).hidden.sum().backward()
        plain(tokens()).hidden.sum().backward()
        assert all(torch.equal(one, other) for one, other in zip(current(repeating), current(plain), strict=True))


def test_a_layer_by_itself_redraws_too() -> None:
    layer = build_attention(
        "performer", d_model=8, n_heads=2, max_length=16, causal=True, n_features=6, redraw_interval=1
    )
    first, second = layer(tokens().float()), layer(tokens().float())
    assert not torch.equal(first, second)
    layer.eval()
    assert torch.equal(layer(tokens().float()), layer(tokens().float()))


@pytest.mark.parametrize("kernel", ["positive", "elu", "gelu", "identity"])
def test_a_pickled_model_goes_on_as_the_original(kernel: str) -> None:
    original = stack(kernel=kernel)
    restored = pickle.loads(pickle.dumps(original))
    for _ in range(3):
        assert torch.equal(original(tokens()).hidden, restored(tokens()).hidden)


def test_directions_travel_with_the_model() -> None:
    attention = stack().blocks[0].attention
    assert {"directions.current", "directions._extra_state"} < set(attention.state_dict())
    assert "directions.current" not in dict(attention.named_parameters())


def test_a_forward_without_context_and_one_of_evaluation_agree() -> None:
    backbone = stack(redraw_interval=0)
    assert torch.equal(backbone(tokens()).hidden, backbone.eval()(tokens(), Context()).hidden)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_features": 0}, ("n_features", "greater than or equal to 1")),
        ({"n_features": None}, ("kernel positive", "n_features must be 1 or more, got null", "relu")),
        ({"n_features": None, "kernel": "trigonometric"}, ("kernel trigonometric", "got null")),
        ({"n_features": None, "kernel": "relu", "per_head": True}, ("per_head", "n_features: null")),
        ({"kernel": "trigonometric", "eps": 0.1}, ("eps must be 0", "got 0.1")),
        ({"eps": -1e-6}, ("eps", "greater than or equal to 0")),
        ({"redraw_interval": -1}, ("redraw_interval", "greater than or equal to 0")),
        ({"min_denominator": 0.0}, ("min_denominator", "greater than 0")),
        ({"chunk": 0}, ("chunk", "greater than or equal to 1")),
        ({"kernel": "softmax"}, ("kernel", "positive", "relu")),
        ({"distribution": "orthonormal"}, ("distribution", "regularised")),
        ({"attention_dropout": 0.1}, ("attention_dropout",)),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        PerformerOptions(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
