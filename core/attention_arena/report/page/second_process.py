"""A second process that draws, as the first one sees it.

It is neither a fork, which the threads of this process would make unsafe, nor one that imports the user's program
again, as those of `multiprocessing`. It is a Python of its own that gets what it needs through a socket, writes no file
and ends with this process.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, NamedTuple

from attention_arena.report.figures.figure import Figure
from attention_arena.report.page.drawing import Drawn
from attention_arena.report.reading.results import Results

MODULE = "attention_arena.report.page.second_drawer"
NOT_PASSED = frozenset({"backend", "backend_fallback"})
"""Settings of matplotlib that choose a window system, which no figure of a report has."""


class Task(NamedTuple):
    """What the second process is told first: the study's results, and matplotlib's settings here."""

    results: Results
    settings: dict[Any, Any]


class Answer(NamedTuple):
    """What the second process made of a figure, and what it was warned of: text and category."""

    drawn: Drawn
    warned: list[tuple[str, type[Warning]]]


class SecondProcess:
    """A process that draws one figure after another until it is closed. Raises OSError where it cannot be started."""

    def __init__(self) -> None:
        self.channel, theirs = Pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # In a session of its own: Ctrl-C reaches this process alone, which then closes that one.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
            )
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()

    def begin(self, results: Results) -> None:
        """Hand over what is to be drawn. Raises OSError where the process has died."""
        # Without what was derived, which is kept by functions that another process would not find.
        self.channel.send(Task(replace(results), _settings()))

    def draw(self, figure: bytes) -> Answer | None:
        """Have a pickled figure drawn; None if that process cannot have it.

        Raises OSError or EOFError where that process dies.
        """
        self.channel.send_bytes(figure)
        answer: Answer | None = self.channel.recv()
        return answer

    def close(self) -> int:
        """Kill the process, whatever it does, and return its exit status as `subprocess` has it."""
        self.process.kill()
        status = self.process.wait()
        self.channel.close()
        return status


def pickled(figure: Figure) -> bytes | None:
    """Return a figure as bytes; None where its functions have no name under which another process could import them."""
    try:
        return pickle.dumps(figure)
    # Which of them pickle raises for a function without a name depends on its kind and on Python's version.
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _import_path() -> list[str]:
    """Return where this process finds modules, so that the other one finds the same plugins."""
    return [str(Path(each).absolute()) for each in sys.path]


def _settings() -> dict[str, Any]:
    import matplotlib

    settings = dict(matplotlib.rcParams.copy())
    return {key: value for key, value in settings.items() if key not in NOT_PASSED}
