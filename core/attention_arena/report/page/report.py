"""The report: one page that opens from disk, and the figures and tables that it links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from attention_arena.errors import ConfigError
from attention_arena.report.derived.capacities import capacities
from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.coverage import coverage
from attention_arena.report.derived.summary import Summaries, summarise
from attention_arena.report.derived.task_summary import TaskSummary
from attention_arena.report.figures.figure import MORE, Figure
from attention_arena.report.page import contents
from attention_arena.report.page.draw_together import draw_figures
from attention_arena.report.page.drawing import Drawing
from attention_arena.report.page.environment import environment
from attention_arena.report.page.index import entries_of, has_index, write_index
from attention_arena.report.page.run_files import COLUMNS, PER_FILE, run_lines, write_run_files
from attention_arena.report.page.swatches import swatches
from attention_arena.report.published import beside_published, remove_published, write_published
from attention_arena.report.reading.folder import study_folders
from attention_arena.report.reading.progress import counts_in_words, still_running
from attention_arena.report.reading.results import Results, load_results
from attention_arena.report.rows.answer import Table, answer_table, cost_table, last_step_table
from attention_arena.report.rows.comparison_rows import comparison_rows
from attention_arena.report.rows.growth_tables import break_even_tables, exponent_tables
from attention_arena.report.rows.language_model_tables import language_models
from attention_arena.report.tables import report_tables, write_table_files
from attention_arena.report.tables.frames import write_tables_of
from attention_arena.report.wording.words import answer_in_words, details_in_words
from attention_arena.runs.files import write_whole

PLACED = (
    "quality_speed_memory", "quality_by_task", "learning_curves",
    "cost_by_length", "time_ratio_by_length", "memory_by_length",
    "perplexity_by_protocol", "perplexity_by_position",
)  # fmt: skip
"""Figures with a section of their own; those of other plugins follow together."""


def write_report(path: str | Path, figures: Sequence[Figure], published: pl.DataFrame | None = None) -> Path:
    """Write the report of every study at or below `path`, with its tables, and return the page to open.

    A profile's folder gets `report/index.html` beside its runs. A results folder, and a study's with several profiles,
    gets tables of them all and an index of them, as a page and in Markdown. `published` are numbers of others to lay
    beside ours; see `published.SCHEMA`. Raises ConfigError where there is nothing to report.
    """
    path = Path(path)
    folders = study_folders(path)
    if not folders:
        raise ConfigError(
            f"nothing to report in {path}: expected study.json in it, or in <study>/<profile>/ below it; "
            "`arena run STUDY` writes it"
        )
    written = [_write_study(folder, figures, published) for folder in folders]
    if not has_index(path, folders):
        return written[0][0]
    return _write_index(path, [page for page, _ in written], pl.concat([compared for _, compared in written]))


def _write_study(folder: Path, figures: Sequence[Figure], published: pl.DataFrame | None) -> tuple[Path, pl.DataFrame]:
    """Write a study's tables and page; return the page and the study's comparisons, which take long to make."""
    results = load_results(folder)
    compared = compare_with_baseline(results)
    write_tables_of(results, compared, folder)
    target = folder / "report"
    target.mkdir(exist_ok=True)
    write_table_files(report_tables(results, compared), target / "tables")
    drawings = draw_figures(figures, results, target / "figures")
    write_run_files(results, folder, target / "runs")
    context = _context(results, compared, drawings) | _published(results, compared, published, folder)
    write_whole(target / "index.html", environment().get_template("report.html.j2").render(context))
    return target / "index.html", compared


def _context(results: Results, compared: pl.DataFrame, drawings: Sequence[Drawing]) -> dict[str, Any]:
    summaries = summarise(results, compared)
    by_name = {drawing.name: drawing for drawing in drawings}
    symbols, look = swatches(summaries.labels)
    return {
        "symbols": symbols,
        "look": look,
        "tasks": summaries.tasks,
        "task_of": {task.heading: task.label for task in summaries.tasks},
        "coverage": coverage(summaries),
        "capacities": capacities(results),
        "run_index": {"columns": COLUMNS, "per_file": PER_FILE, "runs": run_lines(results)},
        "study": results.studies[0],
        "answer": answer_in_words(summaries),
        "details": details_in_words(summaries),
        "brief": {label: summaries.said(label) for label in summaries.labels},
        "table": answer_table(summaries),
        "trains": summaries.trains,
        "baseline": summaries.baseline,
        "compared": comparison_rows(summaries),
        "last_step": last_step_table(summaries),
        "costs": _costs_by_task(summaries),
        "drawings": by_name,
        "sections": _sections([drawing for drawing in drawings if drawing.name not in PLACED]),
        "exponents": exponent_tables(results),
        "break_evens": break_even_tables(results),
        "language_models": language_models(results),
        "unmeasured": contents.unmeasured(results),
        "unfinished": contents.unfinished(results),
        "departures": contents.departures(results),
        "caveats": contents.caveats(results),
        "sources": contents.sources(results, summaries),
        "machines": contents.machines(results),
        "warnings": contents.warnings_of(results),
        "references": contents.references(results),
        "n_runs": len(results.runs),
        "progress": counts_in_words(results),
        "still_running": still_running(results),
        "n_seeds": results.runs["seed"].n_unique(),
        "wall_time": contents.wall_time(results),
    }


def _published(
    results: Results, compared: pl.DataFrame, published: pl.DataFrame | None, folder: Path
) -> dict[str, Any]:
    """Return what the page says of published numbers, and write it beside the other tables; None where not asked."""
    if published is None:
        remove_published(folder)
        return {"published": None}
    summaries = summarise(results, compared)
    shown = beside_published(results, summaries, published)
    write_published(folder, shown, results, summaries, published)
    return {"published": shown}


def _costs_by_task(summaries: Summaries) -> list[tuple[TaskSummary, Table]]:
    """Return a table of costs for each task, unless the first table of the page is the same already."""
    if not summaries.trains and len(summaries.tasks) == 1:
        return []
    return [(task, cost_table(summaries, task)) for task in summaries.tasks]


def _sections(drawings: Sequence[Drawing]) -> dict[str, list[Drawing]]:
    """Return figures by the heading under which they stand, foreign ones last; see `Figure.section`."""
    shown = [drawing for drawing in drawings if drawing.has_data or drawing.section == MORE]
    headings = sorted(dict.fromkeys(drawing.section for drawing in shown), key=lambda heading: heading == MORE)
    return {heading: [drawing for drawing in shown if drawing.section == heading] for heading in headings}


def _write_index(path: Path, pages: Sequence[Path], compared: pl.DataFrame) -> Path:
    results = load_results(path)
    write_tables_of(results, compared, path)
    return write_index(path, entries_of(results, compared, [page.relative_to(path) for page in pages]))
