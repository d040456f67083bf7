from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from attention_arena.report.derived.break_even import break_evens, in_words
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.growth_tables import break_even_tables
from attention_arena.statistics import BreakEven
from tests.core.report.cost_results import Costly, cost_results

FUSED = Costly("softmax", lambda n: 1e-5 * n**2, spread=1.02)
NAIVE = Costly("naive softmax", lambda n: 4e-5 * n**2, variant="softmax", spread=1.02)
LINEAR = Costly("linear", lambda n: 0.03 * n, spread=1.02)
PASSTHROUGH = Costly("passthrough", lambda n: 0.001 * n)


def row_of(results: Results, label: str, against: str) -> dict[str, Any]:
    [row] = break_evens(results).filter((pl.col("label") == label) & (pl.col("against") == against)).to_dicts()
    return row


def test_each_variant_has_a_break_even_against_the_baseline_and_its_other_forms() -> None:
    results = cost_results([FUSED, LINEAR, NAIVE])
    against_fused, against_naive = (row_of(results, "linear", each) for each in ("softmax", "naive softmax"))
    assert against_fused["break_even"] == pytest.approx(3000)
    assert against_naive["break_even"] == pytest.approx(750)
    assert against_fused["low"] < 3000 < against_fused["high"]
    assert against_fused["timed"] == "apart"


def test_what_was_timed_in_turn_counts_before_what_was_timed_apart() -> None:
    results = cost_results([FUSED, LINEAR, NAIVE], timed_together={"linear": lambda n: 2000 / n})
    row = row_of(results, "linear", "softmax")
    assert (row["timed"], row["break_even"]) == ("together", pytest.approx(2000))
    # The ratio says nothing of another rival than the baseline.
    assert row_of(results, "linear", "naive softmax")["timed"] == "apart"


def test_the_naive_form_never_breaks_even_with_the_fused_one_and_it_always_does() -> None:
    results = cost_results([FUSED, NAIVE])
    assert row_of(results, "naive softmax", "softmax")["words"] == "none up to 16,384"
    assert row_of(results, "softmax", "naive softmax")["words"] == "below 512"


def test_a_curve_that_was_cut_off_is_compared_up_to_there() -> None:
    row = row_of(cost_results([FUSED, LINEAR._replace(stops={16384: "oom"})]), "linear", "softmax")
    assert (row["longest"], row["verdict"]) == (8192, "found")
    assert row["words"].endswith("; oom at 16,384")


def test_none_up_to_the_rivals_end_names_the_rival() -> None:
    slow = Costly("slow", lambda n: 1.0 * n)
    row = row_of(cost_results([FUSED._replace(stops={8192: "timeout", 16384: "timeout"}), slow]), "slow", "softmax")
    assert row["words"] == "none up to 4,096; softmax timeout at 8,192"


def test_memory_has_break_evens_too() -> None:
    row = row_of(cost_results([NAIVE, LINEAR], measure="saved_for_backward"), "linear", "naive softmax")
    assert (row["measure"], row["break_even"]) == ("saved_for_backward", pytest.approx(750))


def test_references_have_none_and_no_study_without_a_baseline_has_any() -> None:
    results = cost_results([FUSED, PASSTHROUGH], references=["passthrough"])
    assert break_evens(results).is_empty()
    results.runs.replace_column(results.runs.columns.index("baseline"), pl.Series("baseline", [False, False]))
    assert break_evens(results).is_empty()


def test_the_page_has_a_column_for_each_phase_and_rival() -> None:
    (table,) = break_even_tables(cost_results([FUSED, LINEAR, NAIVE], phases=("inference", "training")))
    assert table.columns == [
        f"{phase}, against {rival}" for phase in ("inference", "training") for rival in ("softmax", "naive softmax")
    ]
    cells = {label: [cell.text for cell in cells] for label, cells in table.rows}
    assert cells["softmax"] == ["", "below 512", "", "below 512"]
    assert cells["linear"][0].startswith("3,000 [2,9")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (BreakEven("found", 2310.4, 2050.0, 2600.0, 512, 16384, "points"), "2,310 [2,050, 2,600]"),
        (BreakEven("found", 600.0, None, 900.0, 512, 16384, "points"), "600 [below 512, 900]"),
        (BreakEven("found", 9000.0, 7000.0, None, 512, 16384, "points"), "9,000 [7,000, beyond 16,384]"),
        (BreakEven("found", 9000.0, None, None, 512, 16384, "none"), "9,000"),
        (BreakEven("none", None, 16384, None, 512, 16384, "points"), "none up to 16,384"),
        (BreakEven("always", None, None, 512, 512, 16384, "points"), "below 512"),
    ],
    ids=["inside", "low end open", "high end open", "no interval", "none", "always"],
)
def test_break_evens_in_words(found: BreakEven, words: str) -> None:
    assert in_words(found) == words
