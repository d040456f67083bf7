"""The report: one page that opens from disk, and the figures and tables that it links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from attention_arena.errors import ConfigError
from attention_arena.report import contents
from attention_arena.report.answer import answer_table, cost_table
from attention_arena.report.drawing import Drawing, draw_figure
from attention_arena.report.figures.figure import Figure
from attention_arena.report.folder import study_folders
from attention_arena.report.results import Results, load_results
from attention_arena.report.summary import summarise
from attention_arena.report.table import write_tables_of
from attention_arena.report.words import answer_in_words
from attention_arena.runs.files import write_whole

TEMPLATES = Path(__file__).parent / "templates"
PLACED = ("quality_speed_memory", "learning_curves", "cost_by_length")
"""Figures with a section of their own; those of other plugins follow together."""


def write_report(path: str | Path, figures: Sequence[Figure]) -> Path:
    """Write the report of every study at or below `path`, with its tables, and return the page to open.

    A profile's folder gets `report/index.html` beside its runs. Where `path` holds several, it gets tables of them all
    and a page of links. Raises ConfigError where there is nothing to report.
    """
    path = Path(path)
    folders = study_folders(path)
    if not folders:
        raise ConfigError(
            f"nothing to report in {path}: expected study.json in it, or in <study>/<profile>/ below it; "
            "`arena run STUDY` writes it"
        )
    pages = [_write_study(folder, figures) for folder in folders]
    return pages[0] if len(pages) == 1 else _write_index(path, pages)


def _write_study(folder: Path, figures: Sequence[Figure]) -> Path:
    results = load_results(folder)
    write_tables_of(results, folder)
    target = folder / "report"
    target.mkdir(exist_ok=True)
    drawings = [draw_figure(figure, results, target / "figures") for figure in figures]
    page = _environment().get_template("report.html.j2").render(_context(results, drawings))
    write_whole(target / "index.html", page)
    return target / "index.html"


def _context(results: Results, drawings: Sequence[Drawing]) -> dict[str, Any]:
    summaries = summarise(results)
    by_name = {drawing.name: drawing for drawing in drawings}
    return {
        "study": results.studies[0],
        "answer": answer_in_words(summaries),
        "table": answer_table(summaries),
        "costs": [(task.heading, cost_table(summaries, task)) for task in summaries.tasks],
        "drawings": by_name,
        "more": [drawing for drawing in drawings if drawing.name not in PLACED],
        "growth": contents.growth(results),
        "unmeasured": contents.unmeasured(results),
        "unfinished": contents.unfinished(results),
        "departures": contents.departures(results),
        "caveats": contents.caveats(results),
        "sources": contents.sources(results, summaries),
        "machines": contents.machines(results),
        "warnings": contents.warnings_of(results),
        "references": contents.references(results),
        "n_runs": len(results.runs),
        "n_done": int((results.runs["status"] == "done").sum()),
        "n_seeds": results.runs["seed"].n_unique(),
        "wall_time": contents.wall_time(results),
    }


def _write_index(path: Path, pages: Sequence[Path]) -> Path:
    results = load_results(path)
    write_tables_of(results, path)
    target = path / "report"
    target.mkdir(exist_ok=True)
    entries = [
        _entry(results.of(study), page.relative_to(path)) for study, page in zip(results.studies, pages, strict=True)
    ]
    write_whole(target / "index.html", _environment().get_template("index.html.j2").render(entries=entries))
    return target / "index.html"


def _entry(results: Results, page: Path) -> dict[str, Any]:
    return {
        "study": results.studies[0],
        "link": Path("..", page).as_posix(),
        "answer": answer_in_words(summarise(results)),
        "n_done": int((results.runs["status"] == "done").sum()),
        "n_runs": len(results.runs),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only what `drawing.inline` made, which has been through an XML parser, and our own style sheet.
    environment.filters["picture"] = lambda drawing: Markup(drawing.svg)
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment
