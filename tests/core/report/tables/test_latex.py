from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
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
    assert r"    {}ours (baseline) & \textbf{2} {\footnotesize $\pm$ 1} {\footnotesize better} \\" in lines
    assert r"    {}chance & 1 \\" in lines
    assert r"  \begin{tabular}{lr}" in lines
    assert r"  \caption{A table}" in lines
    assert r"  \label{tab:t}" in lines


def test_a_column_of_long_text_breaks_its_lines() -> None:
    table = Table([Column("why", is_number=False)], [Row("a", [Cell("word " * 20)])])
    assert r"\begin{tabular}{lp{0.28\linewidth}}" in latex(table)
    assert r"\begin{tabular}{ll}" in latex(replace(table, rows=[Row("a", [Cell("word")])]))


@pytest.mark.skipif(ENGINE is None, reason="no LaTeX is installed")
def test_a_document_of_hostile_names_compiles(tmp_path: Path, fakes: Any) -> None:
    (tmp_path / "document.tex").write_text(DOCUMENT % latex(_table(fakes)), encoding="utf-8")
    flags = [] if ENGINE == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [str(ENGINE), *flags, "document.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "document.pdf").stat().st_size > 0
