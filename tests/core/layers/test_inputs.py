"""What a backbone refuses before it computes anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attention_arena.catalogue import load_catalogue
from attention_arena.variant import Backbone, Capability, Context, ModelShape

VARIANTS = load_catalogue().variants
STEPWISE = sorted(name for name, variant in VARIANTS.items() if Capability.STEPWISE in variant.supports)
LENGTH = 6
OPTIONS = {"linformer": {"rank": 2}, "longformer": {"window": 2}, "reformer": {"bucket_size": 2}}

every_variant = pytest.mark.parametrize("name", sorted(VARIANTS))

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def backbone(name: str, causal: bool = False, **options: Any) -> Backbone:
    shape = ModelShape(d_model=8, n_heads=2, n_layers=1, d_ff=8, max_length=LENGTH, causal=causal, positions="none")
    variant = VARIANTS[name]
    return variant.build(variant.options(**(OPTIONS.get(name, {}) | options)), shape).eval()


def hidden(B: int = 2, T: int = 5) -> Tensor:
    return torch.randn(B, T, 8)


@every_variant
@pytest.mark.parametrize("mask", ["valid", "landmarks"])
def test_a_mask_on_another_device_is_refused(name: str, mask: str) -> None:
    elsewhere = torch.ones(2, 5, dtype=torch.bool, device="meta")
    with pytest.raises(ValueError, match=f"^{mask} is on meta, the hidden states on cpu; move one of them$"):
        backbone(name)(hidden(), Context(**{mask: elsewhere}))


@every_variant
def test_hidden_states_on_another_device_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"hidden states \(2, 5, 8\) are on meta, the model on cpu; move one of them"):
        backbone(name)(hidden().to("meta"))


@pytest.mark.parametrize(
    ("resumes", "found"),
    [
        (torch.ones(2, 1, dtype=torch.bool), r"torch.bool of shape \(2, 1\)"),
        (torch.ones(2), r"torch.float32 of shape \(2,\)"),
    ],
    ids=["rank 2", "numbers"],
)
def test_rows_that_resume_are_named_by_one_bool_each(resumes: Tensor, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^resumes must be bool of shape \(2,\), got {found}$"):
        backbone("transformer_xl", causal=True)(hidden(), Context(resumes=resumes))


@pytest.mark.parametrize(
    ("x", "found"),
    [(np.zeros((2, 5, 8)), "ndarray"), ([[1.0]], "list"), (None, "NoneType")],
    ids=["array", "list", "nothing"],
)
def test_hidden_states_that_are_no_tensor_are_refused(x: Any, found: str) -> None:
    expected = rf"^hidden states must be a tensor \(B, T, 8\), got {found}; convert it by torch.as_tensor$"
    with pytest.raises(ValueError, match=expected):
        backbone("softmax")(x)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=str)
def test_autocast_converts_no_float64_and_no_integers(name: str, dtype: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match=f"{dtype}, the weights torch.float32"):
        backbone(name)(hidden().to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_autocast_takes_other_floating_types(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone("softmax")(hidden().to(dtype)).hidden.isfinite().all()


def test_float64_weights_take_float64_under_autocast_and_nothing_else() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone("softmax").double()(hidden().double()).hidden.dtype == torch.float64
        with pytest.raises(ValueError, match=r"torch.float32, the weights torch.float64; convert one of them"):
            backbone("softmax").double()(hidden())


@pytest.mark.parametrize("name", STEPWISE)
def test_a_state_of_other_rows_is_refused(name: str) -> None:
    decoder = backbone(name, causal=True)
    state = decoder.step(hidden(2, 1)).state
    with pytest.raises(ValueError, match=r"has 2 rows.*3; start without state$"):
        decoder.step(hidden(3, 1), Context(state=state))


def decode(decoder: Backbone, n_steps: int) -> None:
    state = None
    for _ in range(n_steps):
        _, state = decoder.step(hidden(1, 1), Context(state=state))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in STEPWISE if name != "transformer_xl"),
        ("sparse", {"positions": "attention", "stride": 4}),
        ("sparse", {"positions": "data", "data_sizes": (2, 3)}),
    ],
    ids=str,
)
def test_decoding_ends_at_max_length(name: str, options: dict[str, Any]) -> None:
    decoder = backbone(name, causal=True, **options)
    decode(decoder, LENGTH)
    with pytest.raises(ValueError, match=rf"^position {LENGTH} of a step must be below max_length \({LENGTH}\); build"):
        decode(decoder, LENGTH + 1)


def test_segments_may_be_decoded_without_end() -> None:
    """What `max_length` bounds there is one segment, as in training; a text is as many as it likes."""
    decode(backbone("transformer_xl", causal=True, memory=2), 3 * LENGTH)
