from __future__ import annotations

from pathlib import Path

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.reading.results import load_results
from attention_arena.report.tables import report_tables
from bench.report import BARS, STUDIES, Taken, in_words, report
from bench.report_study import Size, write_study

SIZE = Size(labels=3, tasks=2, seeds=2, rows=60, points=10, examples=50)


def test_a_study_of_formulas_has_the_size_that_was_asked_for_and_reads_without_a_warning(tmp_path: Path) -> None:
    results = load_results(write_study(tmp_path, SIZE))
    assert len(results.runs) == SIZE.runs == 12
    assert len(results.measurements) == 12 * 60
    assert len(results.curves) == 12 * 10
    assert results.notes == []
    tables = {table.name: table for table in report_tables(results, compare_with_baseline(results))}
    assert {cell.text for row in tables["coverage"].rows for cell in row.cells} == {"2 of 2"}
    assert len(tables["comparisons"].rows) == 2 * 2


def test_what_a_report_takes_is_told(tmp_path: Path) -> None:
    taken = report(write_study(tmp_path, SIZE._replace(tasks=1, seeds=1, rows=4)))
    folder = tmp_path / "scale" / "bench"
    assert taken.reading > 0
    assert taken.report > 0
    assert taken.peak > 2**25
    assert taken.page == (folder / "report" / "index.html").stat().st_size
    written = [
        path for path in folder.rglob("*") if path.is_file() and "runs" not in path.relative_to(folder).parts[:1]
    ]
    assert taken.folder == sum(path.stat().st_size for path in written if path.name != "study.json")


def test_what_has_a_bar_is_printed_beside_it() -> None:
    taken = Taken(reading=1, report=13.25, cpu=(12, 10), peak=2**30, page=4 * 10**6, folder=9 * 10**6)
    assert "reported in 13.2 s (bar 20 s)" in in_words("rows", taken)
    assert "peak 1.00 GiB (bar 1.5 GiB); page 4.0 MB, folder 9.0 MB" in in_words("rows", taken)
    assert "page 4.0 MB, folder 9.0 MB (bar 30 MB)" in in_words("runs", taken)
    assert set(BARS) == set(STUDIES)
