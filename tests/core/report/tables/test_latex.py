from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.latex import escape, latex

DOCUMENT = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
ENGINE = next((name for name in ("pdflatex", "lualatex", "xelatex", "tectonic") if shutil.which(name)), None)
HARD = (
    "[x] after a line's end",
    "* as well",
    "100 % & #1 {a}_b^c~d",
    "中文 Ж ẵ ﬁ \x07",
    "-- ,, '' `` ?` !`",
    "=1+1",
    "",
)


def _table(fakes: Any) -> Table:
    """A table of hostile names, texts and captions; the label of each row is its text as well."""
    names = (fakes.HOSTILE, *HARD)
    rows = [Row(name, [Cell("1.5", f"± {name}", value=1.5, best=True, mark="§"), Cell(name * 3)]) for name in names]
    rows.append(Row(fakes.HOSTILE, [Cell("7", value=7.0), Cell("")], trivial=True))
    columns = [Column(fakes.HOSTILE, "accuracy (%) ↑"), Column("reason", is_number=False)]
    notes = [*names, "δ ≤ 3 × 10², naïve œuvre: “quoted” – ‘so’ …"]
    return Table(columns, rows, notes=notes, name="hostile", caption=fakes.HOSTILE, head=fakes.HOSTILE)


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("a & b", r"a \& b"),
        ("50 %", r"50 \%"),
        ("$x_1$", r"\$x\_1\$"),
        ("#{}", r"\#\{\}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("<script>", r"\textless{}script\textgreater{}"),
        ("a|b", r"a\textbar{}b"),
        ("^~", r"\textasciicircum{}\textasciitilde{}"),
        ('"q"', r"\texttt{\char34}q\texttt{\char34}"),
        ("é ñ ř", r"\'{e} \~{n} \v{r}"),
        ("Σ ≤ −1", r"$\Sigma$ $\le$ $-$1"),
        ("a -- b", "a -{}- b"),
        ("two\nlines", "two lines"),
        ("中", r"\ifdefined\Umathcode 中\else\texttt{U+4E2D}\fi{}"),
        ("transformer_xl (n=4)", r"transformer\_xl (n=4)"),
    ],
)
def test_latex_escapes_what_it_would_read_as_its_own(raw: str, escaped: str) -> None:
    assert escape(raw) == escaped


def test_a_table_has_the_rules_of_booktabs_its_best_in_bold_and_a_cell_for_each_column() -> None:
    rows = [Row("ours", [Cell("2", "± 1", value=2.0, best=True, verdict="better")], baseline=True)]
    rows.append(Row("chance", [Cell("1", value=1.0)], trivial=True))
    lines = latex(Table([Column("score", "points")], rows, name="t", caption="A table")).splitlines()
    assert [line.strip() for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    assert r"    {}ours (baseline) & \textbf{2} {\scriptsize $\pm$~1} {\scriptsize better} \\" in lines
    assert r"    {}chance & 1 \\" in lines
    assert r"  \begin{tabular}{lr}" in lines
    assert r"  \caption{A table}" in lines
    assert r"  \label{tab:t}" in lines


def test_what_is_not_shown_worse_than_the_best_is_underlined() -> None:
    text = latex(Table([Column("score")], [Row("a", [Cell("1.5", value=1.5, near_best=True, mark="ᵃ")])]))
    assert r"\underline{1.5}\textsuperscript{a} \\" in text
    assert "textbf" not in text


def test_what_fits_into_a_column_stays_there_and_breaks_no_line() -> None:
    table = Table([Column("why", is_number=False)], [Row("a", [Cell("word")])])
    assert r"\begin{table}" in latex(table)
    assert r"\begin{tabular}{ll}" in latex(table)


def test_a_column_of_long_text_breaks_its_lines_and_takes_the_page() -> None:
    text = latex(Table([Column("why", is_number=False)], [Row("a", [Cell("word " * 60)])]))
    assert r"\begin{table*}" in text
    assert re.search(r"\\begin\{tabular\}\{lp\{0\.\d+\\textwidth\}\}", text)
    assert text.count(r"\tabularnewline") == 2


def test_a_raised_mark_is_not_raised_twice() -> None:
    text = latex(Table([Column("score")], [Row("a", [Cell("1", value=1.0, mark="ᵃ§")])]))
    assert r"1\textsuperscript{a}\textsuperscript{\S{}}" in text


def test_a_table_in_parts_has_a_caption_and_a_label_for_each_and_its_notes_once() -> None:
    rows = [Row(f"row {place}", [Cell("1", value=1.0)]) for place in range(60)]
    text = latex(Table([Column("score")], rows, name="t", caption="A table", notes=["remember"]))
    assert re.findall(r"\\caption\{(.*)\}", text) == ["A table (part 1 of 2)", "A table (part 2 of 2)"]
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:t", "tab:t-2"]
    assert text.count("remember") == 1
    assert text.index("remember") > text.index("tab:t-2")
    assert [text.count(f"row~{place} ") for place in range(60)] == [1] * 60


@pytest.mark.skipif(ENGINE is None, reason="no LaTeX is installed")
def test_a_document_of_hostile_names_compiles(tmp_path: Path, fakes: Any) -> None:
    compiled(tmp_path, DOCUMENT % latex(_table(fakes)))
    assert (tmp_path / "document.pdf").stat().st_size > 0


def compiled(folder: Path, document: str) -> str:
    """Return what the engine says of a document."""
    (folder / "document.tex").write_text(document, encoding="utf-8")
    flags = [] if ENGINE == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    command = [str(ENGINE), *flags, "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout + done.stderr


def _arena() -> Table:
    """Seven tasks, their averages and costs, for seven variants, with what makes such a table wide."""
    tasks = ["listops", "text", "retrieval", "image", "pathfinder", "path_x", "language_model"]
    columns = [Column(f"{task} (generated)", "accuracy (%) ↑", task=task) for task in tasks]
    columns += [Column("average of 7 (some of stand-ins)", "accuracy (%) ↑"), Column("peak memory", "of the run ↓")]
    labels = [f"variant_{place} (memory_length=64, segment_length=64)" for place in range(7)]
    score = Cell("55.8", "[16.2, 19.6]", value=55.8, verdict="no difference shown", flag="at chance", mark="ᵃ")
    cells = [score] * 7 + [Cell("46.4", "± 1.3", value=46.4), Cell("427 MiB", value=427.0)]
    rows = [Row(label, cells) for label in labels]
    rows.append(Row("majority class", [Cell("9.7", value=9.7)] * 7 + [Cell("")] * 2, trivial=True))
    notes = ["ᵃ: not shown to beat “nearest class mean”, which needs no model."] * 8
    return Table(columns, rows, n_scores=8, name="arena", caption="Scores", notes=notes)


@pytest.mark.skipif(ENGINE is None, reason="no LaTeX is installed")
@pytest.mark.parametrize("options", ["twocolumn", "10pt", "12pt"])
def test_a_table_of_seven_tasks_stays_within_the_margins(tmp_path: Path, options: str) -> None:
    document = DOCUMENT.replace("{article}", f"[{options}]{{article}}") % latex(_arena())
    said = compiled(tmp_path, document)
    over = [float(points) for points in re.findall(r"Overfull .hbox \(([\d.]+)pt", said)]
    assert max(over, default=0.0) < 5.0
    assert "Float too large" not in said
