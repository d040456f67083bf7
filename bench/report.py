"""What a report of a large study takes: `python -m bench.report [--only rows]` prints seconds and the peak of memory.

Two studies are made of formulas and reported on, each in a process of its own: one of 100,000 measurements, one of
5,000 runs. The bar is 20 s and 1.5 GiB for the first, tables, figures and page together, and a page of at most 30 MB
for the second. `--profile` prints where the time goes instead.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from attention_arena.report.figures import register_figures
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from bench.report_study import Size, write_study

STUDIES: Mapping[str, Size] = {
    "rows": Size(labels=10, tasks=4, seeds=5, rows=500, points=200, examples=2000),
    "runs": Size(labels=50, tasks=10, seeds=10, rows=20, points=40, examples=1000),
}


class Taken(NamedTuple):
    """What reading and reporting took, and what it came to."""

    reading: float
    """Wall seconds of `load_results` alone."""
    report: float
    """Wall seconds of `write_report`, which reads once more."""
    cpu: float
    """CPU seconds of both."""
    peak: int
    """Peak of the resident set, in bytes."""
    page: int
    """Bytes of the page."""


def report(folder: Path) -> Taken:
    """Read and report on a study, in this process, and return what it took."""
    begun = time.perf_counter()
    load_results(folder)
    read = time.perf_counter()
    page = write_report(folder, register_figures())
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return Taken(read - begun, time.perf_counter() - read, cpu, used.ru_maxrss * 1024, page.stat().st_size)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(STUDIES), help="one study instead of both")
    parser.add_argument("--profile", action="store_true", help="print the 40 functions that take the most time")
    options = parser.parse_args()
    for name in [options.only] if options.only else STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            _measure(name, write_study(Path(folder), STUDIES[name]), options.profile)


def _measure(name: str, folder: Path, profile: bool) -> None:
    if profile:
        with cProfile.Profile() as found:
            report(folder)
        pstats.Stats(found).sort_stats("cumulative").print_stats(40)
        return
    size = STUDIES[name]
    # A fresh process: its peak is the report's own.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken = pool.apply(report, (folder,))
    print(
        f"{name}: {size.runs:,} runs, {size.runs * size.rows:,} measurements, {size.runs * size.points:,} points: "
        f"read in {taken.reading:.1f} s, reported in {taken.report:.1f} s ({taken.cpu:.1f} s of CPU for both), "
        f"peak {taken.peak / 2**30:.2f} GiB, page {taken.page / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
