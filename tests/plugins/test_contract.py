"""The contract suite over everything registered, and proof that each of its checks can fail."""

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor, nn

from attention_arena.catalogue import load_catalogue
from attention_arena.errors import ConfigError
from attention_arena.layers import Attention, Stack
from attention_arena.testing import VARIANT_CHECKS, VariantCase, check_variant, variant_cases
from attention_arena.variant import Capability, Context, ModelShape, Options
from tests.plugins.toy_variants import (
    AlwaysResumes,
    AveragesOnEmptyRows,
    ChangesItsState,
    CountsRows,
    CutsAGradient,
    CutsAGradientOfPaddedRows,
    DividesByItsNorm,
    DoublesItsPrecision,
    DrawsInEvaluation,
    DrawsWithItsOwnGenerator,
    ExponentiatesWithoutAMaximum,
    ForgetsABuffer,
    ForgetsASecondDerivative,
    ForgetsTheFirstTokenOfPaddedRows,
    ForgetsWhileDecoding,
    IgnoresItsState,
    IgnoresPadding,
    KeepsAGradient,
    KeepsNoState,
    LeaksTheFuture,
    LeaksTheFutureOfPaddedRows,
    LeaksThroughAMaximum,
    MasksByALargeNumber,
    MixesRows,
    NanOnEmptyRows,
    Recurrent,
    RefusesOddLengths,
    ReturnsMoreThanItsWeights,
    ScalesOneHead,
    SeesMoreWithOneHead,
    SharesItsState,
    SharpensOneHead,
    Sound,
    TakesTheStateOfOtherRows,
    WeighsByAnotherMatrix,
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
    ("gradients", CutsAGradientOfPaddedRows),
    ("gradients", ForgetsASecondDerivative),
    ("gradient_causality", LeaksTheFuture),
    ("gradient_causality", LeaksTheFutureOfPaddedRows),
    ("perturbation_causality", LeaksTheFuture),
    ("perturbation_causality", LeaksTheFutureOfPaddedRows),
    ("perturbation_causality", LeaksThroughAMaximum),
    ("padding", IgnoresPadding),
    ("padding", MasksByALargeNumber),
    ("finite", NanOnEmptyRows),
    ("finite", AveragesOnEmptyRows),
    ("finite", DividesByItsNorm),
    ("finite", ExponentiatesWithoutAMaximum),
    ("stepwise", ForgetsWhileDecoding),
    ("stepwise", ForgetsTheFirstTokenOfPaddedRows),
    ("equivariance", MixesRows),
    ("equivariance", CountsRows),
    ("heads", ScalesOneHead),
    ("heads", SharpensOneHead),
    ("weights", ScalesOneHead),
    ("weights", WeighsByTwo),
    ("weights", WeighsByAnotherMatrix),
    ("weights", ReturnsMoreThanItsWeights),
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
    assert {check for check, _ in BROKEN} | {"cost", "formula", "waste", "refusals"} == set(VARIANT_CHECKS)


def test_a_backbone_that_takes_anything_is_caught() -> None:
    def build(options: Options, shape: ModelShape) -> Stack:
        stack = Stack(shape, lambda layer: Sound(shape))
        stack.shape = shape.model_copy(update={"max_length": 10 * shape.max_length})
        return stack

    (finding,) = check_variant(variant_of(Sound, build=build), ["refusals"])
    assert finding.verdict == "failed"
    assert finding.detail == "toy, bidirectional, too long: accepted"


def test_a_mask_from_another_device_must_be_refused() -> None:
    def build(options: Options, shape: ModelShape) -> OwnBackbone:
        return DropsFarMasks(Stack(shape, lambda layer: Sound(shape)))

    (finding,) = check_variant(variant_of(Sound, build=build), ["refusals"])
    assert finding.detail == "toy, bidirectional, valid on another device: accepted"


def test_a_state_of_other_rows_must_be_refused() -> None:
    (finding,) = check_variant(variant_of(TakesTheStateOfOtherRows), ["refusals"])
    assert finding.detail.startswith(
        "toy, causal, a state of other rows in forward: RuntimeError instead of ValueError"
    )


def test_heads_that_see_different_pairs_are_left_out_with_the_reason() -> None:
    (finding,) = check_variant(variant_of(SeesMoreWithOneHead, supports=BIDIRECTIONAL), ["heads"])
    assert finding.verdict == "not applicable"
    assert finding.detail == "toy, bidirectional, attention 0: heads see different pairs whatever their parameters are"


def test_a_leak_without_gradient_is_seen_by_perturbation_alone() -> None:
    by_gradient, by_perturbation = check_variant(
        variant_of(LeaksThroughAMaximum), ["gradient_causality", "perturbation_causality"]
    )
    assert (by_gradient.verdict, by_perturbation.verdict) == ("passed", "failed")


def test_what_a_variant_does_not_claim_is_not_applicable() -> None:
    variant = variant_of(Sound, supports=frozenset({Capability.BIDIRECTIONAL}), complexity=None)
    verdicts = {finding.check: finding.verdict for finding in check_variant(variant)}
    left_out = {check for check, verdict in verdicts.items() if verdict == "not applicable"}
    assert left_out == {
        "gradient_causality", "perturbation_causality", "padding", "stepwise", "segment_state",
        "cost", "formula", "waste",
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
    assert left_out == {"heads", "weights", "residuals", "segment_state", "formula", "waste"}
    verdicts = {check: verdict for check, verdict in verdicts.items() if check not in left_out}
    assert set(verdicts.values()) == {"passed"}


BIDIRECTIONAL = frozenset({Capability.BIDIRECTIONAL})


class OwnBackbone(nn.Module):
    """A backbone that is no stack."""

    def __init__(self, inner: Stack) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, context: Context = Context()) -> Any:  # noqa: B008
        return self.inner(x, context)

    def step(self, x: Tensor, context: Context = Context()) -> Any:  # noqa: B008
        return self.inner.step(x, context)


class DropsFarMasks(OwnBackbone):
    """Ignores what it is told on another device."""

    def forward(self, x: Tensor, context: Context = Context()) -> Any:  # noqa: B008
        far = context.valid is not None and context.valid.is_meta
        return self.inner(x, context._replace(valid=None) if far else context)
