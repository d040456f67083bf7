"""The README beside the results: what was measured, where and how, and every table that a reader wants first."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from attention_arena.runs.provenance import provenance
from bench.adapters import PEERS
from bench.bars import Verdict
from bench.contract import CHECKS, Finding
from bench.machine import half_precision_ratio, processor
from bench.output import number
from bench.registry import version_of
from bench.summary import Line


def write_page(
    path: Path, command: str, lines: Sequence[Line], verdicts: Sequence[Verdict], findings: Sequence[Finding],
    figures: Sequence[str], minutes: float,
) -> None:  # fmt: skip
    """Write the page."""
    parts = [
        "# Layers against fused softmax and against other implementations",
        *_trust(command, minutes),
        "## Bars",
        _verdicts(verdicts),
        "## Figures" if figures else "",
        *(f"![CPU seconds of a training pass against length]({name})" for name in figures),
        "## Times over fused softmax",
        "A cell is CPU time over that of fused softmax at the same length; the best peer of an idea stands in bold. "
        "Peers marked * compute something else, or with other sizes, and are left out of comparisons. An exponent e "
        "says that time grows as n^e between 2048 and 16384 tokens.",
        *_times(lines),
        "## Contract checks" if findings else "",
        _contract(findings),
        "## Peers",
        _peers(),
        "",
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n")


def _trust(command: str, minutes: float) -> list[str]:
    origin = provenance()
    memory = psutil.virtual_memory().total / 2**30
    commit = f"{origin.commit or 'unknown'}{' with changes' if origin.dirty else ''}"
    facts = {
        "command": f"`{command}`, {minutes:.0f} minutes",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {version('numpy')}",
        "attention-arena": f"{origin.arena_version}, commit {commit}",
        "bf16": f"PyTorch's own projection takes {number(half_precision_ratio())} times as long here as in float32",
        "load while measuring": f"{os.getloadavg()[2]:.1f} over the last 15 minutes, this benchmark included",
    }
    return [
        "Written by `python -m bench.peers`. One layer, projections included, one sequence. Time is CPU time on one "
        "thread, the lowest of several samples, all implementations of a cell taking turns; *training* is forward and "
        "backward. Peak is the resident set of forward and backward in a fresh process, above the idle process's. "
        "`times.csv` has every number, samples and reasons with it; `growth.csv`, `bars.csv` and `contract.csv` the "
        "rest.",
        table(["", ""], [[name, fact] for name, fact in facts.items()]),
    ]


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each kind of bar, with what comes nearest to it or misses it most, and all that are missed."""
    kinds: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.bar, []).append(verdict)
    summary = [_summarised(name, each) for name, each in kinds.items()]
    body = [
        [each.bar, each.where, number(each.limit), number(each.found), each.detail]
        for each in verdicts
        if each.holds is False
    ]
    missed = ["Missed:", table(["bar", "where", "at most", "found", ""], body)] if body else []
    head = ["bar", "hold", "median share of the bar", "nearest, or missed most", "at most", "found"]
    return "\n\n".join(["`bars.csv` has every one.", table(head, summary), *missed])


def _summarised(name: str, verdicts: Sequence[Verdict]) -> list[str]:
    judged = [each for each in verdicts if each.holds is not None and each.limit and each.found is not None]
    hold = f"{sum(each.holds is True for each in judged)} of {len(judged)}"
    if not judged:
        return [name, hold, "", "", "", ""]

    def share(verdict: Verdict) -> float:
        return (verdict.found or 0) / (verdict.limit or 1)

    worst, median = max(judged, key=share), statistics.median(map(share, judged))
    return [name, hold, number(median), worst.where, number(worst.limit), number(worst.found)]


def _times(lines: Sequence[Line]) -> list[str]:
    parts = []
    keys = dict.fromkeys((line.setting, line.direction, line.phase) for line in lines)
    for key in keys:
        chosen = [line for line in lines if (line.setting, line.direction, line.phase) == key]
        lengths = sorted({row.length for line in chosen for row in line.rows})
        best = {(row.best_peer, row.length, line.dtype) for line in chosen for row in line.rows if row.best_peer}
        body = []
        for line in chosen:
            by_length = {row.length: row for row in line.rows}
            counts = line.rows[0].counts
            cells = []
            for length in lengths:
                row = by_length.get(length)
                text = "" if row is None else number(row.ratio) if row.cpu_seconds is not None else row.status
                cells.append(f"**{text}**" if (line.implementation, length, line.dtype) in best else text)
            peak = next((row.peak_mib for row in reversed(line.rows) if row.peak_mib is not None), None)
            name = f"{line.implementation}{'' if counts else ' *'}{'' if line.dtype == 'float32' else ' bf16'}"
            peak_text = "-" if peak is None else f"{peak:,.0f}"
            body.append([line.idea, name, *cells, number(line.exponent), line.break_even, peak_text])
        head = ["idea", "implementation", *map(str, lengths), "e", "overtakes at", "peak, longest (MiB)"]
        parts += [f"### {', '.join(key)}", table(head, body)]
    reasons = dict.fromkeys(
        f"- {row.implementation}, {row.direction}, {row.setting}, {row.length}: {row.status}, {row.reason}"
        for line in lines
        for row in line.rows
        if row.status != "done" and row.phase == "training"
    )
    return [*parts, *(["What has no number:", "\n".join(reasons)] if reasons else [])]


def _contract(findings: Iterable[Finding]) -> str:
    """Return the table of checks, with the reasons of those that fail below it."""
    by_layer: dict[tuple[str, str], dict[str, Finding]] = {}
    for finding in findings:
        by_layer.setdefault((finding.implementation, finding.direction), {})[finding.check] = finding
    if not by_layer:
        return ""
    words = {"passed": "yes", "failed": "**no**", "not applicable": "-"}
    body = [
        [name, direction, *(words[found[check].verdict] if check in found else "" for check in CHECKS)]
        for (name, direction), found in by_layer.items()
    ]
    reasons = [
        f"- {finding.implementation}, {finding.direction}, {finding.check}: {finding.detail}"
        for found in by_layer.values()
        for finding in found.values()
        if finding.verdict == "failed"
    ]
    return table(["implementation", "direction", *CHECKS], body) + "\n\n" + "\n".join(reasons)


def _peers() -> str:
    return table(
        ["peer", "package", "version", "directions", "note"],
        [
            [
                peer.name + ("" if peer.counts else " *"),
                peer.package or "",
                version_of(peer.package or "") or "not installed",
                ", ".join(peer.directions),
                peer.remark,
            ]
            for peer in PEERS
        ],
    )


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [list(head), ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
