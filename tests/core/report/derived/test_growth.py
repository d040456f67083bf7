from __future__ import annotations

import dataclasses
import math
from typing import Any

import polars as pl
import pytest

from attention_arena.report.derived.growth import COLUMNS, growth
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.growth_tables import exponent_tables
from tests.core.report.cost_results import LENGTHS, Costly, cost_results


def row_of(results: Results, label: str) -> dict[str, Any]:
    [row] = growth(results).filter(pl.col("label") == label).to_dicts()
    return row


LINEAR = Costly("linear", lambda n: 0.03 * n, claim=(1.0, 1.0))
LOG_LINEAR = Costly("log-linear", lambda n: 0.004 * n * math.log2(n), claim=(1.0, 1.0))
QUADRATIC = Costly("quadratic", lambda n: 2e-5 * n**2, claim=(2.0, 1.0))


@pytest.mark.parametrize(
    ("variant", "expected"), [(LINEAR, 1.0), (LOG_LINEAR, 1.11), (QUADRATIC, 2.0)], ids=["n", "n log n", "n^2"]
)
def test_exponents_are_of_a_sequence_although_steps_have_equally_many_tokens(variant: Costly, expected: float) -> None:
    assert row_of(cost_results([variant]), variant.label)["exponent"] == pytest.approx(expected, abs=0.02)


def test_a_batch_of_fixed_size_gives_the_same_exponents() -> None:
    # With so few tokens in a step, each batch holds one sequence.
    assert row_of(cost_results([QUADRATIC], tokens_per_step=1), "quadratic")["exponent"] == pytest.approx(2.0)


def test_the_fit_is_of_the_upper_half_of_the_lengths_and_says_so() -> None:
    row = row_of(cost_results([QUADRATIC]), "quadratic")
    assert (row["shortest"], row["longest"], row["lengths"]) == (2048, 16384, 4)
    assert row["last_exponent"] == pytest.approx(2.0)


def test_a_curve_that_bends_shows_it_at_its_end() -> None:
    row = row_of(cost_results([Costly("bent", lambda n: n + n**2 / 4000)]), "bent")
    assert row["exponent"] < row["last_exponent"] < 2
    assert row["high"] - row["low"] > 0.1


def test_of_attention_alone_the_exponent_is_free_of_what_is_linear() -> None:
    quadratic = Costly("softmax", lambda n: 0.03 * n + 1e-5 * n**2, claim=(2.0, 1.0))
    row = row_of(cost_results([quadratic, LINEAR], references=["linear"]), "softmax")
    assert row["exponent"] < 1.9
    assert row["own_exponent"] == pytest.approx(2.0)
    assert row["verdict"] == "as claimed"
    assert row_of(cost_results([quadratic, LINEAR]), "softmax")["verdict"] == "below the claim"


def test_there_is_no_exponent_of_attention_alone_where_it_costs_nothing() -> None:
    cheaper = Costly("recomputes", lambda n: 0.02 * n, claim=(1.0, 1.0))
    row = row_of(cost_results([cheaper, LINEAR], references=["linear"]), "recomputes")
    assert (row["own_exponent"], row["own_low"], row["own_high"]) == (None, None, None)
    assert row["verdict"] == "as claimed"


@pytest.mark.parametrize(
    ("claim", "verdict"), [(1.0, "above the claim"), (1.5, "as claimed"), (2.0, "below the claim"), (None, "no claim")]
)
def test_an_exponent_is_held_against_the_claim(claim: float | None, verdict: str) -> None:
    variant = Costly("sparse", lambda n: n**1.45, claim=claim and (claim, 1.0))
    assert row_of(cost_results([variant]), "sparse")["verdict"] == verdict


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.1, "within the claim"), (1.38, "within the claim"), (1.6, "above the claim")]
)
def test_a_claim_that_is_a_bound_is_kept_from_below(power: float, verdict: str) -> None:
    results = cost_results([Costly("reformer", lambda n: n**power, claim=(1.3, 1.0))])
    claims = {"reformer": results.studies[0].claims["reformer"].model_copy(update={"at_most": True})}
    study = results.studies[0].model_copy(update={"claims": claims})
    assert row_of(dataclasses.replace(results, studies=[study]), "reformer")["verdict"] == verdict


def test_memory_is_held_against_the_claim_of_memory() -> None:
    row = row_of(
        cost_results([Costly("softmax", lambda n: 64.0 * n, claim=(2.0, 1.0))], measure="peak_resident"), "softmax"
    )
    assert (row["claimed"], row["verdict"]) == (1.0, "as claimed")


def test_flops_of_a_token_count_for_a_whole_sequence() -> None:
    results = cost_results(
        [Costly("softmax", lambda n: 4.0 * n, claim=(2.0, 1.0))], measure="flops_per_token", tokens_per_step=1
    )
    assert row_of(results, "softmax")["exponent"] == pytest.approx(2.0)


def test_where_a_curve_stops_is_told_and_the_rest_is_fitted() -> None:
    row = row_of(cost_results([QUADRATIC._replace(stops={8192: "oom", 16384: "oom"})]), "quadratic")
    assert (row["stopped_at"], row["stopped_by"]) == (8192, "oom")
    assert (row["shortest"], row["longest"]) == (512, 4096)


def test_a_gap_is_no_stop() -> None:
    row = row_of(cost_results([QUADRATIC._replace(stops={4096: "failed"})]), "quadratic")
    assert (row["stopped_at"], row["lengths"]) == (None, 4)


@pytest.mark.parametrize("n_known", [0, 1])
def test_too_few_lengths_have_no_exponent(n_known: int) -> None:
    stops = dict.fromkeys(LENGTHS[n_known:], "timeout")
    row = row_of(cost_results([LINEAR, QUADRATIC._replace(stops=stops)]), "quadratic")
    assert row["exponent"] is None
    assert row["verdict"] == ("too few lengths" if n_known else "timeout")
    assert row["stopped_by"] == "timeout"


def test_a_variant_that_cannot_do_the_task_is_a_row_all_the_same() -> None:
    row = row_of(cost_results([LINEAR, QUADRATIC._replace(status="unsupported")]), "quadratic")
    assert (row["exponent"], row["verdict"], row["stopped_by"]) == (None, "unsupported", "unsupported")


def test_what_was_measured_at_one_length_only_has_no_growth() -> None:
    found = growth(cost_results([LINEAR], lengths=[512]))
    assert found.is_empty()
    assert found.columns == list(COLUMNS)


def test_a_value_without_a_logarithm_is_no_point() -> None:
    row = row_of(cost_results([LINEAR, Costly("keeps nothing", lambda n: 0.0)]), "keeps nothing")
    assert (row["exponent"], row["verdict"], row["stopped_at"]) == (None, "too few lengths", None)


def test_the_page_says_the_exponent_the_claim_and_what_is_unusual() -> None:
    variants = [
        QUADRATIC._replace(label="softmax", spread=1.02),
        LINEAR._replace(claim=(2.0, 1.0), stops={16384: "oom"}),
        LOG_LINEAR._replace(status="unsupported"),
    ]
    (table,) = exponent_tables(cost_results(variants))
    assert (table.task, table.columns) == ("listops", ["claimed: time, memory", "time, training"])
    cells = {label: [cell.text for cell in cells] for label, cells in table.rows}
    assert cells == {"softmax": ["2, 1", "2.00"], "linear": ["2, 1", "1.00"], "log-linear": ["1, 1", "unsupported"]}
    beside = {label: cells[1] for label, cells in table.rows}
    assert beside["softmax"].beside.startswith("[1.9")
    assert beside["linear"].flag == "below the claim; oom at 16,384"
    assert beside["log-linear"].is_reason
