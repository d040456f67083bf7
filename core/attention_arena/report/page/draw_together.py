"""All figures of a report: drawn here, and by a second process at the same time where they are many."""

from __future__ import annotations

import os
import sys
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from attention_arena.report.figures.figure import Figure
from attention_arena.report.page.drawing import Drawing, Drawn, draw, has_rows, keep, numbers_of
from attention_arena.report.page.second_process import Answer, SecondProcess, pickled
from attention_arena.report.reading.results import Results

LEAST_WORK = 16
"""Figures times tasks. A figure takes about 0.4 s of a core for each task, and a process 2 s before it draws its first:
with less work than this, a second core would have to work 4 s to win 2.
"""


def draw_figures(figures: Sequence[Figure], results: Results, folder: Path) -> list[Drawing]:
    """Draw the figures of one study and save them in `folder`; see `drawing.draw_figure`."""
    numbers = [numbers_of(figure, results) for figure in figures]
    wanted = [each for each in zip(figures, numbers, strict=True) if has_rows(each[1])]
    # The largest first, so that neither process is left with it when the other is done.
    drawn = _drawn([figure for figure, _ in sorted(wanted, key=lambda each: -len(each[1]))], results)
    empty = Drawn({})
    each = zip(figures, numbers, strict=True)
    return [keep(figure, found, drawn.get(figure.name, empty), folder) for figure, found in each]


def _drawn(figures: Sequence[Figure], results: Results) -> dict[str, Drawn]:
    """Return what the figures came to, by name."""
    second = _second(figures, results)
    if second is None:
        return {figure.name: draw(figure, results) for figure in figures}
    return _draw_with(second, figures, results)


def _second(figures: Sequence[Figure], results: Results) -> SecondProcess | None:
    """Start a second process where it is worth it and can be."""
    n_tasks = results.runs.select("task", "task_options").n_unique()
    if len(figures) * n_tasks < LEAST_WORK or _cores() < 2 or not sys.executable:
        return None
    try:
        return SecondProcess()
    except OSError as error:
        warnings.warn(f"no second process could be started to draw figures, which takes longer: {error}", stacklevel=3)
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Feeder(Thread):
    """Has the second process draw from a line of figures, while this process draws from the same line."""

    def __init__(self, second: SecondProcess, figures: Sequence[Figure], results: Results) -> None:
        super().__init__(daemon=True)
        self.second, self.results = second, results
        self.asked = {figure.name: pickled(figure) for figure in figures}
        self.waiting = deque(figure for figure in figures if self.asked[figure.name] is not None)
        self.mine = deque(figure for figure in figures if self.asked[figure.name] is None)
        """What only this process can draw."""
        self.answers: dict[str, Answer] = {}
        self.failed = False

    def run(self) -> None:
        """Hand over figures until there are no more."""
        try:
            self.second.begin(self.results)
            while (figure := _take(self.waiting)) is not None:
                self._hand_over(figure)
        except (EOFError, OSError):
            self.failed = True

    def _hand_over(self, figure: Figure) -> None:
        answer = None
        try:
            answer = self.second.draw(self.asked[figure.name] or b"")
        finally:
            if answer is None:
                self.mine.append(figure)
            else:
                self.answers[figure.name] = answer


def _take(line: deque[Figure]) -> Figure | None:
    """Take the next figure from a line that another thread may have emptied."""
    try:
        return line.popleft()
    except IndexError:
        return None


def _draw_with(second: SecondProcess, figures: Sequence[Figure], results: Results) -> dict[str, Drawn]:
    """Return what the figures came to, by name, and end the second process."""
    feeder = _Feeder(second, figures, results)
    drawn = {}
    try:
        feeder.start()
        while (figure := _take(feeder.mine) or _take(feeder.waiting)) is not None:
            drawn[figure.name] = draw(figure, results)
        # A process that is still starting has nothing in hand, and is not waited for.
        if any(figure.name not in drawn and figure.name not in feeder.answers for figure in figures):
            feeder.join()
        failed = feeder.failed
    finally:
        status = second.close()
    if failed:
        warnings.warn(f"the second process that drew figures ended early (exit status {status})", stacklevel=4)
    for name, answer in feeder.answers.items():
        drawn[name] = answer.drawn
        for text, category in answer.warned:
            warnings.warn(text, category, stacklevel=4)
    return drawn | {figure.name: draw(figure, results) for figure in figures if figure.name not in drawn}
