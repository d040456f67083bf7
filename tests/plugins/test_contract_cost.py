"""The contract suite's checks of cost can fail, and say by how much."""

import pytest

from attention_arena.catalogue import load_catalogue
from attention_arena.layers import Attention
from attention_arena.testing import check_variant
from attention_arena.testing.cost import count_forward, require_growth
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.testing.verdict import ContractError
from attention_arena.variant import Complexity, LayerCost, ModelShape, Options
from tests.plugins.toy_variants import ComputesThreeTimes, Sound, variant_of


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


@pytest.mark.parametrize(("attention", "verdict"), [(Sound, "passed"), (ComputesThreeTimes, "failed")])
def test_twice_the_papers_work_is_allowed_and_thrice_is_not(attention: type[Attention], verdict: str) -> None:
    def paper_flops(options: Options, shape: ModelShape, length: int) -> float:
        pairs = length * (length + 1) / 2 if shape.causal else length**2
        return 8.0 * length * shape.d_model**2 + 4.0 * shape.d_model * pairs

    (finding,) = check_variant(variant_of(attention, paper_flops=paper_flops), ["waste"])
    assert finding.verdict == verdict, finding.detail


def test_longformers_blocks_compute_at_most_half_as_much_again_as_its_windows_hold() -> None:
    variant, n, d, window = load_catalogue().variant("longformer"), 4096, 8, 512
    for trial in trials(variant, variant.options(window=window), d_model=d, d_ff=1, n_layers=1, max_length=n):
        assert count_forward(trial, n) <= 1.5 * (8 * n * d**2 + 4 * d * n * (window + 1))


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
    [
        (1.0, 1.0, True),
        (1.5, 1.5, True),
        (1.5, 2.0, False),
        (1.0, 2.0, False),
        (1.6, 1.5, False),
        (1.0, 1.5, False),
        (1.56, 1.5, True),
        (2.04, 2.0, True),
        (2.06, 2.0, False),
        (1.94, 2.0, False),
    ],
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


@pytest.mark.parametrize("name", sorted(load_catalogue().variants))
def test_every_registered_variant_states_what_its_paper_counts(name: str) -> None:
    assert load_catalogue().variant(name).paper_flops is not None
