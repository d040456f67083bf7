"""The index of a results folder: its studies, newest first, each with its answer, as a page and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.page.environment import environment
from attention_arena.report.reading.progress import counts_in_words
from attention_arena.report.reading.results import Results
from attention_arena.report.tables.markdown import escape
from attention_arena.report.wording.phrases import listed
from attention_arena.report.wording.words import answer_in_words
from attention_arena.runs.files import write_whole

README = "README.md"
OTHERWISE = "index.md"
"""The list's name in a folder with a README.md of its own."""
WRITTEN = "Newest first. Written by `arena report`; the same as a page: [report](report/index.html)."
"""The line by which a README.md is known to be a list of ours."""


@dataclass(frozen=True)
class Entry:
    """A study as an index lists it."""

    title: str
    """The study's question, or its name where it asks none."""
    study: str
    profile: str
    page: Path
    """Relative to the results folder."""
    answer: str
    progress: str
    machines: str
    started: str
    """When its latest run began (ISO 8601, UTC); empty where none has."""


def has_index(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a folder gets an index: a results folder always, a study's where it holds several profiles.

    `folders` are the profiles' folders in it.
    """
    return len(folders) > 1 or any(folder.parent.parent == path for folder in folders)


def write_index(path: Path, entries: Sequence[Entry]) -> Path:
    """Write the index into a folder, as `report/index.html`, which is returned, and in Markdown.

    The Markdown is README.md, which a folder is shown with in many places, or index.md where README.md is not ours.
    """
    name = README if _is_ours(path / README) else OTHERWISE
    target = path / "report"
    target.mkdir(exist_ok=True)
    page = environment(scripts=()).get_template("index.html.j2").render(entries=entries, markdown=name)
    write_whole(target / "index.html", page)
    write_whole(path / name, index_page(entries))
    return target / "index.html"


def _is_ours(readme: Path) -> bool:
    return not readme.exists() or WRITTEN in readme.read_text(encoding="utf-8", errors="replace")


def entries_of(results: Results, compared: pl.DataFrame, pages: Sequence[Path]) -> list[Entry]:
    """Return all studies, that with the latest run first, and those without a run last.

    `pages` are relative to the results folder, in the order of `results.studies`; `compared` holds the comparisons of
    all studies.
    """
    entries = [_entry(results.of(study), compared, page) for study, page in zip(results.studies, pages, strict=True)]
    return sorted(entries, key=lambda entry: entry.started, reverse=True)


def index_page(entries: Sequence[Entry]) -> str:
    """Return the index in Markdown."""
    lines = [
        "# Studies",
        "",
        WRITTEN,
    ]
    for entry in entries:
        link = entry.page.as_posix().replace(" ", "%20")
        facts = [
            f"{escape(entry.study)} ({escape(entry.profile)})",
            entry.progress,
            escape(entry.machines),
            entry.started,
        ]
        lines += ["", f"- [{escape(entry.title)}]({link}) · {' · '.join(fact for fact in facts if fact)}  "]
        lines += [f"  {escape(entry.answer)}"]
    return "\n".join(lines) + "\n"


def _entry(results: Results, compared: pl.DataFrame, page: Path) -> Entry:
    [study] = results.studies
    mine = compared.filter((pl.col("study") == study.study) & (pl.col("profile") == study.profile))
    started = results.runs["started_at"].drop_nulls()
    return Entry(
        title=study.question or study.study,
        study=study.study,
        profile=study.profile,
        page=page,
        answer=answer_in_words(summarise(results, mine)),
        progress=counts_in_words(results),
        machines=_machines(results),
        started=max(started, default="")[:19].replace("T", " "),
    )


def _machines(results: Results) -> str:
    ran = results.runs.filter(pl.col("started_at").is_not_null())
    names = ran["device_name"].drop_nulls().unique(maintain_order=True).to_list()
    return listed(names) if names else ""
