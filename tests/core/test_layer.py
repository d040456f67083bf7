"""The attention of one layer, by name."""

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena import build_attention
from attention_arena.errors import ConfigError

SHAPE: dict[str, Any] = {"d_model": 24, "n_heads": 4, "max_length": 64}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def reach(layer: torch.nn.Module) -> list[int]:
    """Return the positions from which the last of 64 tokens has a gradient."""
    x = normal(1, 64, 24).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0, 63].sum(), [x])
    return gradient[0].abs().sum(-1).nonzero().flatten().tolist()


def test_a_layer_is_the_attention_of_that_layer() -> None:
    options = {"causal": True, "stride": 8, "window": 8, **SHAPE}
    assert reach(build_attention("sparse", **options)) == list(range(56, 64))
    assert reach(build_attention("sparse", layer=1, **options)) == list(range(7, 64, 8))


@pytest.mark.parametrize(
    ("name", "options"),
    [("transformer_xl", {"encoding": "abs"}), ("sparse", {"positions": "attention", "stride": 8})],
)
def test_positions_that_a_variant_brings_are_part_of_its_layer(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, x = build_attention(name, **SHAPE, **options).eval(), normal(2, 64, 24)
    order = torch.arange(64).flip(0)
    assert not torch.allclose(layer(x)[:, order], layer(x[:, order]), atol=1e-3)


def test_a_layer_has_the_parameters_of_its_attention_alone() -> None:
    layer = build_attention("softmax", **SHAPE)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 4 * 24 * 24


def test_every_bad_option_is_named_with_what_is_expected() -> None:
    with pytest.raises(ValueError, match="rank: expected an integer ≥ 1 or a list of integers ≥ 1, got 0"):
        build_attention("linformer", **SHAPE, rank=0)
    with pytest.raises(ValueError, match="unknown linformer option 'rnk'; did you mean 'rank'"):
        build_attention("linformer", **SHAPE, rnk=8)
    with pytest.raises(ValueError, match="window: window must be even, half for either side, got 5; use 6"):
        build_attention("longformer", **SHAPE, window=5)
    with pytest.raises(ValueError, match=r"d_model must be a multiple of n_heads \(\d+\), got 25; nearest is 24$"):
        build_attention("softmax", **{**SHAPE, "d_model": 25})
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got -1$"):
        build_attention("softmax", **{**SHAPE, "max_length": -1})
    with pytest.raises(ConfigError, match="did you mean 'performer'"):
        build_attention("performr", **SHAPE)
    with pytest.raises(ValueError, match="causal: expected true or false, got 'yes'"):
        build_attention("softmax", **SHAPE, causal="yes")
    for layer in (-1, 2):
        with pytest.raises(ValueError, match=rf"layer counts from 0 and must be below n_layers \(2\), got {layer}"):
            build_attention("softmax", **SHAPE, layer=layer, n_layers=2)


def test_options_may_be_lists_of_one_entry_for_each_layer() -> None:
    windows = {"window": [8, 4, 16], "causal": True, **SHAPE}
    for layer, width in enumerate(windows["window"]):
        assert reach(build_attention("longformer", layer=layer, n_layers=3, **windows)) == list(range(63 - width, 64))
    with pytest.raises(ValueError, match=r"each of the 1 layers \(n_layers\), got 3: \[8, 4, 16\]; give one, or 1"):
        build_attention("longformer", **windows)


def test_lists_may_be_given_as_tuples() -> None:
    assert build_attention("linformer", **SHAPE, rank=(4,))(normal(1, 9, 24)).shape == (1, 9, 24)


@pytest.mark.parametrize("shape", [(0, 5, 24), (2, 0, 24)])
def test_empty_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"B and T of at least 1, got \("):
        build_attention("softmax", **SHAPE)(torch.zeros(shape))


def test_a_mask_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"valid must be a bool tensor of shape \(1, 3\), got list"):
        build_attention("softmax", **SHAPE)(normal(1, 3, 24), valid=[[True, True, False]])
