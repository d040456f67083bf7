"""The variant checks by name, and their run over a variant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attention_arena.errors import ConfigError
from attention_arena.testing.causality import check_gradient_causality, check_gradients, check_perturbation_causality
from attention_arena.testing.construction import (
    check_determinism,
    check_equivariance,
    check_shapes,
    check_state_dict,
)
from attention_arena.testing.cost import check_cost
from attention_arena.testing.formula import check_formula
from attention_arena.testing.heads import check_heads, check_weights
from attention_arena.testing.masking import check_finite, check_padding
from attention_arena.testing.refusals import check_refusals
from attention_arena.testing.residuals import check_residuals
from attention_arena.testing.state import check_segment_state, check_stepwise
from attention_arena.testing.trial import one_thread
from attention_arena.testing.verdict import ContractError, Finding, NotApplicable
from attention_arena.testing.waste import check_waste
from attention_arena.variant import Options, Variant

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

VariantCheck = Callable[[Variant, Options], None]

VARIANT_CHECKS: Mapping[str, VariantCheck] = {
    "shapes": check_shapes,
    "state_dict": check_state_dict,
    "determinism": check_determinism,
    "gradients": check_gradients,
    "gradient_causality": check_gradient_causality,
    "perturbation_causality": check_perturbation_causality,
    "padding": check_padding,
    "finite": check_finite,
    "stepwise": check_stepwise,
    "equivariance": check_equivariance,
    "heads": check_heads,
    "weights": check_weights,
    "residuals": check_residuals,
    "cost": check_cost,
    "formula": check_formula,
    "waste": check_waste,
    "refusals": check_refusals,
    "segment_state": check_segment_state,
}
"""Name -> (variant, options) -> None; raises `ContractError`, or `NotApplicable` where the variant claims nothing."""


def check_variant(variant: Variant, checks: Iterable[str] | None = None) -> list[Finding]:
    """Run the checks (all, or those named) under each of a variant's `check_options`.

    A check that the variant names in `caveats` must fail under at least one of them; if it does not, that is a failure,
    because the caveat is out of date. Raises ConfigError for a caveat that names no check.
    """
    _require_known_caveats(variant)
    findings: list[Finding] = []
    for check in VARIANT_CHECKS if checks is None else checks:
        found = [_run(variant, check, options) for options in variant.check_options]
        findings += found if check not in variant.caveats else _expect_failure(variant, check, found)
    return findings


def _require_known_caveats(variant: Variant) -> None:
    unknown = sorted(set(variant.caveats) - set(VARIANT_CHECKS))
    if unknown:
        known = ", ".join(VARIANT_CHECKS)
        raise ConfigError(f"{variant.name}: caveats must name contract checks ({known}), got {', '.join(unknown)}")


def _check(variant: Variant, check: str, options: Mapping[str, Any]) -> None:
    with one_thread():
        VARIANT_CHECKS[check](variant, variant.options(**options))


def _run(variant: Variant, check: str, options: Mapping[str, Any]) -> Finding:
    try:
        _check(variant, check, options)
    except NotApplicable as reason:
        return Finding(check, options, "not applicable", str(reason))
    except Exception as error:
        detail = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        return Finding(check, options, "failed", detail)
    return Finding(check, options, "passed", None)


def _expect_failure(variant: Variant, check: str, found: Sequence[Finding]) -> list[Finding]:
    reason = variant.caveats[check]
    if any(finding.verdict == "failed" for finding in found):
        return [
            finding._replace(verdict="expected failure", detail=reason) if finding.verdict == "failed" else finding
            for finding in found
        ]
    detail = f"{variant.name} has a caveat for {check}, but no check_options fail it: {reason}"
    return [finding._replace(verdict="failed", detail=detail) for finding in found]


@dataclass(frozen=True)
class VariantCase:
    """One contract check of one variant under some of its `check_options`; calling it runs it."""

    variant: Variant
    check: str
    settings: tuple[Mapping[str, Any], ...]

    def __call__(self) -> None:
        """Raise what the check raises; where it does not apply under any of the settings, skip the test."""
        reasons = []
        for options in self.settings:
            try:
                _check(self.variant, self.check, options)
            except NotApplicable as reason:
                reasons.append(str(reason))
        # A caveat for what does not apply is out of date; passing here fails its strict expected failure.
        if len(reasons) == len(self.settings) and self.check not in self.variant.caveats:
            import pytest

            pytest.skip(reasons[0])


def variant_cases(variants: Iterable[Variant]) -> list[ParameterSet]:
    """Return pytest parameters: every check of every variant, once for each of its `check_options`.

    A check named in a variant's `caveats` is one strict expected failure over all its `check_options`. Use it as
    `@pytest.mark.parametrize("case", variant_cases([MY_VARIANT]))` over `def test_contract(case): case()`.
    """
    import pytest

    cases: list[ParameterSet] = []
    for variant in variants:
        _require_known_caveats(variant)
        for check in VARIANT_CHECKS:
            if check in variant.caveats:
                case = VariantCase(variant, check, variant.check_options)
                expected = pytest.mark.xfail(strict=True, reason=variant.caveats[check])
                cases.append(pytest.param(case, id=f"{variant.name}-{check}", marks=expected))
                continue
            for options in variant.check_options:
                setting = ",".join(f"{key}={value}" for key, value in options.items())
                name = "-".join(part for part in (variant.name, check, setting) if part)
                cases.append(pytest.param(VariantCase(variant, check, (options,)), id=name))
    return cases
