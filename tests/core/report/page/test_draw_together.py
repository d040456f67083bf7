"""Figures drawn by two processes: what each of them draws, and what becomes of a report where one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure as Picture

from attention_arena.report.figures.cost import TIME
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page import draw_together
from attention_arena.report.page.draw_together import LEAST_WORK, _draw_with, draw_figures
from attention_arena.report.page.drawing import ENDINGS, draw, draw_figure
from attention_arena.report.page.second_process import Answer, SecondProcess, pickled
from attention_arena.report.reading.results import Results, load_results


def some_data(results: Results) -> pl.DataFrame:
    """A row."""
    return pl.DataFrame({"x": [1.0]})


def plain(results: Results) -> Picture:
    """A picture that any process can draw."""
    picture = Picture()
    picture.subplots().plot([0, 1], [0, 1])
    return picture


def grumbling(results: Results) -> Picture:
    """The same, with a warning."""
    warnings.warn("a font is missing", RuntimeWarning, stacklevel=1)
    return plain(results)


def fatal(results: Results) -> Picture:
    """End the process, as a fault in compiled code would."""
    os._exit(3)


def interrupted(results: Results) -> Picture:
    """Ctrl-C while a figure is drawn."""
    raise KeyboardInterrupt


def figure(name: str, draw: Any) -> Figure:
    """A figure that has data."""
    return Figure(name, name, "", draw, some_data)


@pytest.fixture(scope="module")
def results(fakes: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load_results(fakes.FakeStudy(tasks=[fakes.LISTOPS]).write(tmp_path_factory.mktemp("together")))


@pytest.fixture(scope="module")
def second(results: Results) -> Iterator[SecondProcess]:
    process = SecondProcess()
    process.begin(results)
    yield process
    process.close()


class Imagined:
    """A second process that answers as it is told to; `asked` is set once it has been asked."""

    def __init__(self, answer: Answer | type[Exception] | None) -> None:
        self.answer, self.asked, self.closed = answer, Event(), False

    def begin(self, results: Results) -> None:
        """Take them."""

    def draw(self, figure: bytes) -> Answer | None:
        """Give the answer, or raise it."""
        self.asked.set()
        if isinstance(self.answer, type):
            raise self.answer
        return self.answer

    def close(self) -> int:
        """Say how a killed process ends."""
        self.closed = True
        return -9


def share(second: Any, results: Results) -> tuple[list[str], dict[str, Any]]:
    """Share two figures, of which the second process is surely asked for one.

    Return whether the other was drawn here, and what came of both.
    """
    here: list[str] = []

    def first(results: Results) -> Picture:
        second.asked.wait(30)
        here.append("first")
        return plain(results)

    drawn = _draw_with(second, [figure("first", first), figure("last", plain)], results)
    return here, drawn


@pytest.mark.parametrize("drawn", [TRADEOFF, TIME], ids=lambda figure: str(figure.name))
def test_a_figure_is_the_same_byte_for_byte_wherever_it_is_drawn(
    second: SecondProcess, results: Results, drawn: Figure
) -> None:
    asked = pickled(drawn)
    assert asked is not None
    answer = second.draw(asked)
    assert answer is not None
    assert answer.drawn == draw(drawn, results)
    assert set(answer.drawn.files) == set(ENDINGS) - {"csv"}


def test_a_figure_has_the_settings_of_the_process_that_asks(results: Results, second: SecondProcess) -> None:
    import matplotlib

    with matplotlib.rc_context({"axes.xmargin": 0.4}):
        other = SecondProcess()
        try:
            other.begin(results)
            wide = other.draw(pickled(figure("wide", plain)) or b"")
            assert wide is not None
            assert wide.drawn == draw(figure("wide", plain), results)
        finally:
            other.close()
    assert wide != second.draw(pickled(figure("wide", plain)) or b"")


def test_what_a_figure_warns_of_there_is_told_here(second: SecondProcess, results: Results) -> None:
    answer = second.draw(pickled(figure("grumbling", grumbling)) or b"")
    assert answer is not None
    assert answer.warned == [("a font is missing", RuntimeWarning)]
    with pytest.warns(RuntimeWarning, match="a font is missing"):
        share(Imagined(answer), results)


def test_a_figure_that_another_process_cannot_import_is_drawn_here(second: SecondProcess, results: Results) -> None:
    module = types.ModuleType("only_here")
    module.__dict__["drawn"] = types.FunctionType(plain.__code__, {"Picture": Picture}, "drawn")
    module.drawn.__module__, module.drawn.__qualname__ = "only_here", "drawn"
    sys.modules["only_here"] = module
    try:
        asked = pickled(figure("foreign", module.drawn))
    finally:
        del sys.modules["only_here"]
    assert asked is not None
    assert second.draw(asked) is None
    assert set(share(Imagined(None), results)[1]) == {"first", "last"}


def test_a_figure_whose_functions_have_no_name_is_drawn_here(results: Results, tmp_path: Path) -> None:
    nameless = figure("nameless", lambda results: plain(results))
    assert pickled(nameless) is None
    unasked = Imagined(EOFError)
    assert _draw_with(unasked, [nameless], results)["nameless"].files  # type: ignore[arg-type]
    assert not unasked.asked.is_set()


def test_a_process_that_dies_takes_no_figure_with_it(results: Results) -> None:
    dying = Imagined(EOFError)
    with pytest.warns(UserWarning, match=r"ended early \(exit status -9\)"):
        here, drawn = share(dying, results)
    assert here == ["first"]
    assert drawn["last"] == draw(figure("last", plain), results)
    assert dying.closed


def test_the_death_of_a_process_is_noticed(results: Results) -> None:
    process = SecondProcess()
    process.begin(results)
    with pytest.raises((EOFError, OSError)):
        process.draw(pickled(figure("fatal", fatal)) or b"")
    assert process.close() in (3, -9)


def test_ctrl_c_ends_the_second_process(results: Results) -> None:
    process = SecondProcess()
    with pytest.raises(KeyboardInterrupt):
        _draw_with(process, [figure("interrupted", interrupted)], results)
    assert process.process.poll() is not None


@pytest.mark.parametrize(("cores", "figures"), [(2, 1), (1, LEAST_WORK)], ids=["little to draw", "one core"])
def test_no_process_is_started_where_none_is_worth_it(
    cores: int, figures: int, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_together, "_cores", lambda: cores)
    monkeypatch.setattr(draw_together, "SecondProcess", lambda: pytest.fail("started"))
    assert draw_together._second([TRADEOFF] * figures, results) is None
    [drawing] = draw_figures([TRADEOFF], results, tmp_path)
    assert drawing.picture


def test_figures_are_drawn_though_no_process_can_be_started(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_together, "_cores", lambda: 2)
    monkeypatch.setattr(draw_together, "LEAST_WORK", 1)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    with pytest.warns(UserWarning, match="no second process could be started"):
        [drawing] = draw_figures([TRADEOFF], results, tmp_path / "figures")
    assert drawing == draw_figure(TRADEOFF, results, tmp_path / "alone")


PROGRAM = """
import sys
from attention_arena.report.figures.cost import SPACE, TIME
from attention_arena.report.figures.quality import QUALITY
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page import draw_together
from attention_arena.report.page.report import write_report

print("this program runs")
draw_together.LEAST_WORK, draw_together._cores = 1, lambda: 2
write_report(sys.argv[1], [TRADEOFF, QUALITY, TIME, SPACE])
"""


def test_a_program_without_a_main_guard_runs_once_and_leaves_nothing_behind(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS]).write(tmp_path / "results")
    (tmp_path / "program.py").write_text(PROGRAM)
    before = set(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "this program runs\n"
    assert done.stderr == ""
    written = {path for path in set(folder.rglob("*")) - before if path.is_file()}
    assert {path.suffix for path in written} >= {f".{ending}" for ending in ENDINGS}
    assert not [path for path in written if path.name.startswith(".")]
