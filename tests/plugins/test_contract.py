"""The contract suite over everything registered, and proof that each of its checks can fail."""

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor, nn

from attention_arena.catalogue import load_catalogue
from attention_arena.errors import ConfigError
from attention_arena.layers import Attention, Stack
from attention_arena.testing import VARIANT_CHECKS, VariantCase, check_variant, variant_cases
from attention_arena.testing.cost import require_growth
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.testing.verdict import ContractError
from attention_arena.variant import Capability, Complexity, Context, LayerCost, ModelShape, Options
from tests.plugins.toy_variants import (
    AlwaysResumes,
    AveragesOnEmptyRows,
    ChangesItsState,
    CountsRows,
    CutsAGradient,
    DividesByItsNorm,
    DoublesItsPrecision,
    DrawsInEvaluation,
    DrawsWithItsOwnGenerator,
    ExponentiatesWithoutAMaximum,
    ForgetsABuffer,
    ForgetsASecondDerivative,
    ForgetsWhileDecoding,
    IgnoresItsState,
    IgnoresPadding,
    KeepsAGradient,
    KeepsNoState,
    LeaksTheFuture,
    LeaksThroughAMaximum,
    MasksByALargeNumber,
    MixesRows,
    NanOnEmptyRows,
    Recurrent,
    RefusesOddLengths,
    SharesItsState,
    Sound,
    WeighsByTwo,
    variant_of,
)


@pytest.mark.parametrize("case", variant_cases(load_catalogue().variants.values()))
def test_a_registered_variant_keeps_the_contract(case: VariantCase) -> None:
    case()


BROKEN: Sequence[tuple[str, type[Attention]]] = [
    ("shapes", RefusesOddLengths),
    ("shapes", DoublesItsPrecision),
    ("state_dict", ForgetsABuffer),
    ("determinism", DrawsInEvaluation),
    ("gradients", CutsAGradient),
    ("gradients", ForgetsASecondDerivative),
    ("gradient_causality", LeaksTheFuture),
    ("perturbation_causality", LeaksTheFuture),
    ("perturbation_causality", LeaksThroughAMaximum),
    ("padding", IgnoresPadding),
    ("padding", MasksByALargeNumber),
    ("finite", NanOnEmptyRows),
    ("finite", AveragesOnEmptyRows),
    ("finite", DividesByItsNorm),
    ("finite", ExponentiatesWithoutAMaximum),
    ("stepwise", ForgetsWhileDecoding),
    ("equivariance", MixesRows),
    ("equivariance", CountsRows),
    ("weights", WeighsByTwo),
    ("residuals", DrawsWithItsOwnGenerator),
    ("segment_state", KeepsNoState),
    ("segment_state", KeepsAGradient),
    ("segment_state", IgnoresItsState),
    ("segment_state", AlwaysResumes),
    ("segment_state", SharesItsState),
    ("segment_state", ChangesItsState),
]


@pytest.mark.parametrize("attention", [Sound, Recurrent])
def test_a_sound_variant_passes_every_check(attention: type[Attention]) -> None:
    bad = [finding for finding in check_variant(variant_of(attention)) if finding.verdict == "failed"]
    assert not bad


@pytest.mark.parametrize(("check", "attention"), BROKEN)
def test_a_broken_variant_is_caught(check: str, attention: type[Attention]) -> None:
    (finding,) = check_variant(variant_of(attention), [check])
    assert finding.verdict == "failed"
    assert finding.detail


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _ in BROKEN} | {"cost", "formula", "refusals"} == set(VARIANT_CHECKS)


@pytest.mark.parametrize(
    ("flops", "saved", "verdict"), [(1.1, 0.9, "passed"), (1.2, 1.0, "failed"), (1.0, 0.8, "failed")]
)
def test_a_formula_may_differ_from_the_count_by_15_percent(flops: float, saved: float, verdict: str) -> None:
    def cost(options: Options, shape: ModelShape, length: int) -> LayerCost:
        (trial,) = trials(variant_of(Sound), options, causal=shape.causal, **SIZES, max_length=length)
        counted = count_layer(trial, length)
        return LayerCost(counted.flops * flops, counted.saved_bytes * saved)

    (finding,) = check_variant(variant_of(Sound, cost=cost), ["formula"])
    assert finding.verdict == verdict, finding.detail


def test_a_backbone_that_takes_anything_is_caught() -> None:
    def build(options: Options, shape: ModelShape) -> Stack:
        stack = Stack(shape, lambda layer: Sound(shape))
        stack.shape = shape.model_copy(update={"max_length": 10 * shape.max_length})
        return stack

    (finding,) = check_variant(variant_of(Sound, build=build), ["refusals"])
    assert finding.verdict == "failed"
    assert finding.detail == "toy, bidirectional, too long: accepted"


def test_a_leak_without_gradient_is_seen_by_perturbation_alone() -> None:
    by_gradient, by_perturbation = check_variant(
        variant_of(LeaksThroughAMaximum), ["gradient_causality", "perturbation_causality"]
    )
    assert (by_gradient.verdict, by_perturbation.verdict) == ("passed", "failed")


@pytest.mark.parametrize("claimed", [1.0, 1.5])
def test_a_claim_of_less_than_the_true_cost_is_caught(claimed: float) -> None:
    variant = variant_of(Sound, complexity=Complexity(time=claimed, memory=1.0, formula="less"))
    (finding,) = check_variant(variant, ["cost"])
    assert finding.verdict == "failed"
    assert f"claimed n^{claimed:g}" in (finding.detail or "")


def test_a_bound_above_the_true_cost_is_kept() -> None:
    variant = variant_of(Sound, complexity=Complexity(time=2.5, memory=1.0, formula="more", at_most=True))
    (finding,) = check_variant(variant, ["cost"])
    assert finding.verdict == "passed"


@pytest.mark.parametrize(
    ("exponent", "claimed", "holds"),
    [(1.0, 1.0, True), (1.5, 1.5, True), (1.5, 2.0, False), (1.0, 2.0, False), (1.6, 1.5, False), (1.0, 1.5, False)],
)
def test_growth_is_told_from_the_projections_beside_it(exponent: float, claimed: float, holds: bool) -> None:
    lengths = (1024, 4096, 16384)
    flops = [int(500 * n + 4 * n**exponent) for n in lengths]
    complexity = Complexity(claimed, 1.0, "a claim")
    if holds:
        require_growth(complexity, lengths, flops, "toy")
        return
    with pytest.raises(ContractError, match="claimed"):
        require_growth(complexity, lengths, flops, "toy")


def test_what_a_variant_does_not_claim_is_not_applicable() -> None:
    variant = variant_of(Sound, supports=frozenset({Capability.BIDIRECTIONAL}), complexity=None)
    verdicts = {finding.check: finding.verdict for finding in check_variant(variant)}
    left_out = {check for check, verdict in verdicts.items() if verdict == "not applicable"}
    assert left_out == {
        "gradient_causality", "perturbation_causality", "padding", "stepwise", "segment_state", "cost", "formula"
    }  # fmt: skip


def test_a_caveat_turns_a_failure_into_an_expected_one() -> None:
    variant = variant_of(LeaksThroughAMaximum, caveats={"perturbation_causality": "a maximum over all keys"})
    (finding,) = check_variant(variant, ["perturbation_causality"])
    assert (finding.verdict, finding.detail) == ("expected failure", "a maximum over all keys")


def test_a_caveat_that_is_out_of_date_is_a_failure() -> None:
    (finding,) = check_variant(variant_of(Sound, caveats={"padding": "none"}), ["padding"])
    assert finding.verdict == "failed"
    assert "caveat" in (finding.detail or "")


def test_a_caveat_must_name_a_check() -> None:
    with pytest.raises(ConfigError, match="paddings"):
        variant_cases([variant_of(Sound, caveats={"paddings": "none"})])


def test_a_caveat_is_one_strict_expected_failure_over_all_settings() -> None:
    variant = variant_of(Sound, caveats={"padding": "a reason"}, check_options=({}, {}))
    marked = {case.id: case.marks for case in variant_cases([variant]) if case.marks}
    assert list(marked) == ["toy-padding"]
    (mark,) = marked["toy-padding"]
    assert (mark.name, mark.kwargs) == ("xfail", {"strict": True, "reason": "a reason"})


def test_a_variant_of_its_own_making_has_no_shared_blocks_to_check() -> None:
    variant = variant_of(Sound, build=lambda options, shape: OwnBackbone(Stack(shape, lambda layer: Sound(shape))))
    verdicts = {finding.check: finding.verdict for finding in check_variant(variant)}
    left_out = {check for check, verdict in verdicts.items() if verdict == "not applicable"}
    assert left_out == {"weights", "residuals", "segment_state", "formula"}
    verdicts = {check: verdict for check, verdict in verdicts.items() if check not in left_out}
    assert set(verdicts.values()) == {"passed"}


class OwnBackbone(nn.Module):
    """A backbone that is no stack."""

    def __init__(self, inner: Stack) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, context: Context = Context()) -> Any:  # noqa: B008
        return self.inner(x, context)

    def step(self, x: Tensor, context: Context = Context()) -> Any:  # noqa: B008
        return self.inner.step(x, context)
