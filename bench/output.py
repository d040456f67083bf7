"""Tables as files and as text: CSV that grows while the benchmark runs, and lines for the terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attention_arena.report.wording.numbers import significant
from bench.bars import Verdict
from bench.contract import Finding
from bench.rows import COLUMNS, Row
from bench.summary import Line


class RowFile:
    """`times.csv`, flushed after every cell, so that an interrupted run keeps what it has."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._writer.writeheader()

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and flush."""
        self._writer.writerows(_cells(asdict(row)) for row in rows)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a `times.csv`."""
    return [_row(record) for record in _records(path)]


def write_table(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write records of equal keys as CSV; without any, write nothing."""
    if not records:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(map(_cells, records))


def growth_records(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return exponent and break-even length of each line."""
    names = ("setting", "direction", "phase", "dtype", "idea", "implementation", "ours", "exponent", "break_even")
    return [{name: getattr(line, name) for name in names} for line in lines]


def verdict_records(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Return the bars."""
    return [asdict(verdict) for verdict in verdicts]


def finding_records(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return the checks."""
    return [finding._asdict() for finding in findings]


def row_text(row: Row) -> str:
    """Return a row for the terminal."""
    name = f"  {row.implementation}{'' if row.dtype == 'float32' else f' {row.dtype}'}"
    if row.cpu_seconds is None:
        return f"{name:<40}{row.status}: {row.reason}"
    text = f"{name:<40}{significant(1e3 * row.cpu_seconds):>9} ms ({row.samples:>2})  {number(row.ratio):>6} of softmax"
    if row.phase == "training" and row.peak_mib is not None:
        text += f"  {row.peak_mib:>6,.0f} MiB"
    if row.wall_ratio is not None:
        text += f"  wall {number(row.wall_ratio)}"
    if row.ratio_to_best_peer is not None:
        text += f"  {number(row.ratio_to_best_peer)} of {row.best_peer}"
    return text


def line_text(line: Line) -> str:
    """Return how a line grows, for the terminal."""
    where = f"{line.setting}, {line.direction}, {line.phase}"
    name = f"{line.implementation}{'' if line.dtype == 'float32' else f' {line.dtype}'}"
    return f"  {where:<34}{name:<38}exponent {number(line.exponent):>5}  overtakes at {line.break_even}"


def number(value: float | None) -> str:
    """Return a number in three digits, or a dash."""
    return "-" if value is None else significant(value)


def _cells(record: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in record.items()}


def _records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _row(record: dict[str, str]) -> Row:
    """Return a row from its cells as text."""
    values: dict[str, Any] = dict(record)
    for name in ("ours", "counts"):
        values[name] = record[name] == "True"
    for name in ("length", "samples"):
        values[name] = int(record[name])
    for name in NUMBERS:
        values[name] = float(record[name]) if record[name] else None
    return Row(**values)


NUMBERS = (
    "cpu_seconds", "ratio", "ratio_to_best_peer", "peak_mib", "peak_ratio_to_best_peer", "wall_seconds", "wall_ratio",
)  # fmt: skip
