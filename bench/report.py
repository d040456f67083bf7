"""What a report of a large study takes: `python -m bench.report [--only rows]` prints seconds, memory and bytes.

Three studies are made of formulas and reported on, each in a process of its own: one of 50 runs, one of 5,000, and one
of 100,000 measurements. `BARS` says what their reports must stay under. `--profile` prints where the time goes instead,
in the first of the two processes that draw.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from attention_arena.report.figures import register_figures
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from bench.report_study import Size, write_study

STUDIES: Mapping[str, Size] = {
    "small": Size(labels=5, tasks=2, seeds=5, rows=100, points=40, examples=1000),
    "rows": Size(labels=10, tasks=4, seeds=5, rows=500, points=200, examples=2000),
    "runs": Size(labels=50, tasks=10, seeds=10, rows=20, points=40, examples=1000),
}


class Bars(NamedTuple):
    """What a report must stay under; None where nothing is asked."""

    seconds: float | None = None
    peak: int | None = None
    folder: int | None = None


BARS: Mapping[str, Bars] = {
    "small": Bars(folder=5 * 10**6),
    "rows": Bars(seconds=20, peak=1536 * 2**20),
    "runs": Bars(folder=30 * 10**6),
}


class Taken(NamedTuple):
    """What reading and reporting took, and what it came to."""

    reading: float
    """Wall seconds of `load_results` alone."""
    report: float
    """Wall seconds of `write_report`, which reads once more."""
    cpu: tuple[float, float]
    """CPU seconds of this process, and of the second one that draws where there is much to draw."""
    peak: int
    """Peaks of the resident sets of both, added, in bytes."""
    page: int
    """Bytes of the page."""
    folder: int
    """Bytes of all that was written: the page, what it links, and the tables beside the runs."""


def report(folder: Path) -> Taken:
    """Read and report on a study, in this process, and return what it took."""
    before = set(_files(folder))
    begun = time.perf_counter()
    load_results(folder)
    read = time.perf_counter()
    page = write_report(folder, register_figures())
    end = time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Taken(
        reading=read - begun,
        report=end - read,
        cpu=(used[0].ru_utime + used[0].ru_stime, used[1].ru_utime + used[1].ru_stime),
        peak=sum(each.ru_maxrss for each in used) * 1024,
        page=page.stat().st_size,
        folder=sum(path.stat().st_size for path in set(_files(folder)) - before),
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(STUDIES), help="one study instead of all")
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
    # A fresh process: its peak is the report's own.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken = pool.apply(report, (folder,))
    print(in_words(name, taken))


def in_words(name: str, taken: Taken) -> str:
    """Return what the report of a study took, each figure that has a bar beside it."""
    size, bars = STUDIES[name], BARS[name]
    first, second = taken.cpu
    return (
        f"{name}: {size.runs:,} runs, {size.runs * size.rows:,} measurements, {size.runs * size.points:,} points\n"
        f"  read in {taken.reading:.1f} s, reported in {taken.report:.1f} s{_bar(bars.seconds, 's')}; CPU of both: "
        f"{first:.1f} s here, {second:.1f} s in a second process that draws\n"
        f"  peak {taken.peak / 2**30:.2f} GiB{_bar(bars.peak, 'GiB', 2**30)}; page {taken.page / 1e6:.1f} MB, "
        f"folder {taken.folder / 1e6:.1f} MB{_bar(bars.folder, 'MB', 10**6)}"
    )


def _bar(bar: float | None, unit: str, scale: int = 1) -> str:
    return "" if bar is None else f" (bar {bar / scale:g} {unit})"


if __name__ == "__main__":
    main()
