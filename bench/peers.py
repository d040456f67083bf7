"""Our layers against PyTorch's fused softmax and against the public implementations of the same ideas.

    python -m bench.peers            base and small settings, both directions, 512 to 16384 tokens
    python -m bench.peers --quick    512 and 4096 tokens, base setting, few samples

See bench/README.md for the peers' installation.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import psutil

from attention_arena.allocator import ENVIRONMENT, keep_what_is_freed
from bench import figure
from bench.adapters import PEERS
from bench.bars import judge
from bench.cases import DIRECTIONS, SETTINGS, Cell, Dtype, Implementation
from bench.contract import Finding, check
from bench.layers import OURS
from bench.measure import Entry, History, Plan, measure
from bench.output import (
    RowFile,
    finding_records,
    growth_records,
    line_text,
    number,
    row_text,
    verdict_records,
    write_table,
)
from bench.page import write_page
from bench.probe import MIB, Limits
from bench.registry import import_peers
from bench.rows import BASELINE, Row
from bench.summary import lines
from bench.timing import Effort, threads

LENGTHS = [512, 1024, 2048, 4096, 8192, 16384]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser("python -m bench.peers", description=(__doc__ or "").partition("\n")[0])
    cores = len(os.sched_getaffinity(0))
    share_of_memory = int(0.7 * psutil.virtual_memory().total / MIB / cores)
    add = parser.add_argument
    add("--lengths", nargs="+", type=int, default=LENGTHS, help="tokens in the sequence")
    add("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="widths of the model")
    add("--directions", nargs="+", choices=DIRECTIONS, default=list(DIRECTIONS))
    add("--variants", nargs="+", default=["*"], help="ideas to measure, as patterns (reformer*); softmax is always in")
    add("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure other packages too")
    add("--contract", action=argparse.BooleanOptionalAction, default=True, help="check the layers' contract first")
    add("--dtype", choices=["float32", "bf16", "both"], default="float32", help="bf16 is autocast, for ours alone")
    add("--samples", type=int, default=5, help="how often to sample; up to ten times as often what is short")
    add("--budget", type=float, default=2.0, help="seconds of one layer after which it is sampled twice and no more")
    add("--threads", type=int, default=2, help="threads of the wall-time column; 0 leaves it out")
    add("--wall-lengths", nargs="*", type=int, default=[4096], help="lengths at which wall time is measured too")
    add("--limit", type=float, default=60.0, help="CPU seconds a pass may take")
    add("--memory", type=int, default=share_of_memory, help="MiB a process may take; by default its share of 70 %%")
    add("--slow", type=float, default=3.0, help="follow no peer this many times slower than its best; 0 follows all")
    add("--quick", action="store_true", help="512 and 4096 tokens, base setting, two samples, no wall time")
    add("--out", type=Path, default=Path("results/peers"), help="folder of the tables, the figures and the page")
    options = parser.parse_args(arguments)
    if options.quick:
        options.lengths, options.settings, options.wall_lengths = [512, 4096], ["base"], []
        options.samples, options.budget = 2, 1.0
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """Return how to measure."""
    return Plan(
        effort=Effort(options.samples, min(2, options.samples), options.budget),
        limits=Limits(options.limit, options.memory),
        wall_threads=options.threads,
        wall_samples=2 if options.threads else 0,
        wall_lengths=tuple(options.wall_lengths),
        cores=len(os.sched_getaffinity(0)),
        slow_peer=options.slow or None,
    )


def chosen(options: argparse.Namespace, direction: str) -> list[Implementation]:
    """Return who takes part in a direction: fused softmax first, then ours, then peers."""
    return [
        each
        for each in (*OURS, *(PEERS if options.peers else ()))
        if direction in each.directions
        and (each.name == "softmax" or any(fnmatchcase(each.idea.name, pattern) for pattern in options.variants))
    ]


def entries_of(options: argparse.Namespace, direction: str) -> list[Entry]:
    """Return who takes part in a direction, in which precisions."""
    dtypes: list[Dtype] = ["float32", "bf16"] if options.dtype == "both" else [options.dtype]
    return [
        Entry(each, dtype)
        for dtype in dtypes
        for each in chosen(options, direction)
        if each.is_ours or dtype == "float32"
    ]


def run(options: argparse.Namespace) -> Iterator[list[Row]]:
    """Yield rows, cell by cell and phase by phase."""
    plan = plan_of(options)
    history = History(plan)
    for name in options.settings:
        for direction in options.directions:
            for length in sorted(options.lengths):
                cell = Cell(SETTINGS[name], direction, length)
                print(f"\n{cell}", flush=True)
                yield from measure(cell, entries_of(options, direction), plan, history)


def check_contracts(options: argparse.Namespace) -> list[Finding]:
    """Return what the contract checks find of everyone who takes part."""
    findings: list[Finding] = []
    with threads(1):
        for direction in options.directions:
            for each in chosen(options, direction):
                findings += check(each, direction)
    return findings


def report(
    options: argparse.Namespace, command: str, rows: Sequence[Row], findings: Sequence[Finding], minutes: float
) -> None:
    """Write everything that follows from the rows, and print growth and bars."""
    found = lines(rows)
    verdicts = judge(rows, found)
    write_table(options.out / "growth.csv", growth_records(found))
    write_table(options.out / "bars.csv", verdict_records(verdicts))
    figures = [
        f"peers-{setting}.svg"
        for setting in options.settings
        if figure.draw(found, setting, options.out / f"peers-{setting}")
    ]
    write_page(options.out / "README.md", command, found, verdicts, findings, figures, minutes)
    print("\nGrowth of time (exponent) and the length from which on a layer is faster than fused softmax")
    for line in found:
        if line.exponent is not None and line.implementation != BASELINE:
            print(line_text(line))
    print("\nBars")
    for each in verdicts:
        word = {True: "holds ", False: "MISSED", None: "-     "}[each.holds]
        print(f"  {word} {each.bar}, {each.where}: {number(each.found)} of {number(each.limit)} {each.detail}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    command = shlex.join(["python", "-m", "bench.peers", *(sys.argv[1:] if arguments is None else arguments)])
    start = time.monotonic()
    keep_what_is_freed()
    for module, problem in import_peers().items():
        print(f"not available: {module}: {problem}")
    options.out.mkdir(parents=True, exist_ok=True)
    findings: list[Finding] = []
    if options.contract:
        findings = check_contracts(options)
        write_table(options.out / "contract.csv", finding_records(findings))
        n_failed = sum(finding.verdict == "failed" for finding in findings)
        print(f"contract: {n_failed} of {len(findings)} checks fail, see contract.csv")
    file, rows = RowFile(options.out / "times.csv"), list[Row]()
    try:
        for measured in run(options):
            file.add(measured)
            rows += measured
            print(f" {measured[0].phase}, {(time.monotonic() - start) / 60:.1f} minutes")
            for row in measured:
                print(row_text(row), flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted: what follows is of the cells before")
    finally:
        file.close()
        report(options, command, rows, findings, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "bench.peers", *sys.argv[1:]], {**os.environ, **ENVIRONMENT})
    main()
