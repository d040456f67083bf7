"""Every variant on a GPU against the CPU; and the same on a CPU with the blocks that a GPU gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from attention_arena.catalogue import load_catalogue
from attention_arena.variant import Capability
from tests.plugins import on_device

VARIANTS = load_catalogue().variants

MORE_OPTIONS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "reformer": ({"attention": "full"}, {"attention": "full", "shared_qk": False}),
    "performer": ({"n_features": 16, "per_head": True, "chunk": 5},),
    "transformer_xl": ({"segment_length": 9, "memory": 5, "encoding": "rel_shaw", "same_length": True},),
}
"""Main options that the contract suite, whose settings are used too, builds no variant under."""

CASES = {
    f"{name}-{index}": (name, options)
    for name, variant in sorted(VARIANTS.items())
    for index, options in enumerate((*variant.check_options, *MORE_OPTIONS.get(name, ())))
}
WELL_CONDITIONED = [case for case, (_, options) in CASES.items() if options.get("kernel") != "trigonometric"]
"""Not where signed features may sum to almost nothing, by which rounding is then divided."""
FIRST = {name: dict(variant.check_options[0]) for name, variant in sorted(VARIANTS.items())}
DROPPING = sorted(name for name, variant in VARIANTS.items() if "attention_dropout" in variant.options.model_fields)


def claiming(capability: Capability) -> list[str]:
    """Return the cases of the variants that claim a capability."""
    return [case for case, (name, _) in CASES.items() if capability in VARIANTS[name].supports]


on_every_device = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@on_every_device
@pytest.mark.parametrize("case", CASES)
def test_hidden_states_and_gradients_are_those_of_the_cpu(case: str, device: str) -> None:
    name, options = CASES[case]
    on_device.passes_agree(VARIANTS[name], VARIANTS[name].options(**options), device)


@on_every_device
@pytest.mark.parametrize("name", [name for name in FIRST if VARIANTS[name].positions == "absolute"])
def test_rotary_positions_are_those_of_the_cpu(name: str, device: str) -> None:
    options = VARIANTS[name].options(**FIRST[name])
    on_device.passes_agree(VARIANTS[name], options, device, positions="rotary")
    if Capability.STEPWISE in VARIANTS[name].supports:
        on_device.steps_agree(VARIANTS[name], options, device, positions="rotary")


@on_every_device
@pytest.mark.parametrize("case", WELL_CONDITIONED)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-5), (torch.bfloat16, 0.1)], ids=["float32", "bfloat16"]
)
def test_lower_precision_stays_near_float64(case: str, dtype: torch.dtype, bound: float, device: str) -> None:
    """float32 has 24 bits and bfloat16 8; about ten roundings follow each other on the way to a gradient."""
    name, options = CASES[case]
    on_device.lower_precision_agrees(VARIANTS[name], VARIANTS[name].options(**options), device, dtype, bound)


@on_every_device
@pytest.mark.parametrize("case", claiming(Capability.STEPWISE))
def test_steps_equal_one_pass_of_the_cpu(case: str, device: str) -> None:
    name, options = CASES[case]
    on_device.steps_agree(VARIANTS[name], VARIANTS[name].options(**options), device)


@on_every_device
@pytest.mark.parametrize("case", claiming(Capability.SEGMENT_STATE))
def test_segments_equal_those_of_the_cpu(case: str, device: str) -> None:
    name, options = CASES[case]
    on_device.segments_agree(VARIANTS[name], VARIANTS[name].options(**options), device)


@on_every_device
@pytest.mark.parametrize("residual", ["checkpointed", "reversible"])
@pytest.mark.parametrize("name", FIRST)
def test_what_a_stack_repeats_it_repeats_alike(name: str, residual: str, device: str) -> None:
    options = FIRST[name] | ({"attention_dropout": 0.2} if name in DROPPING else {})
    on_device.stacks_agree(VARIANTS[name], VARIANTS[name].options(**options), device, residual)


@on_every_device
@pytest.mark.parametrize("name", DROPPING)
def test_gradients_under_dropout_of_weights_are_differences(name: str, device: str) -> None:
    options = VARIANTS[name].options(**FIRST[name], attention_dropout=0.3)
    on_device.dropout_is_differentiated(VARIANTS[name], options, device)


@on_every_device
@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(
    "options",
    [{"window": 64}, {"window": 100, "dilation": ((1, 3),), "n_landmarks": 2}, {"window": 280, "n_landmarks": 1}],
    ids=["window", "dilated", "wide"],
)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_equals_the_blocks_of_the_cpu(options: dict[str, Any], padded: bool, causal: bool, device: str) -> None:
    on_device.flex_agrees(VARIANTS["longformer"], device, causal=causal, padded=padded, **options)
