"""What is wrong with a study file: every problem, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from attention_arena.errors import ConfigError


@dataclass(frozen=True)
class Problem:
    """One thing to mend; `message` says what was found and what was expected."""

    file: Path
    line: int | None
    """Counted from 1; None where no line is to blame."""
    path: str
    """Where in the file's structure: `variants[1].options.rank`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line is not None else []
        place += [self.path] if self.path else []
        return ": ".join([", ".join(place), self.message] if place else [self.message])


class StudyError(ConfigError):
    """A study file with problems, in the order of its lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n".join([f"{self.problems[0].file} has {count}:", *(f"  {problem}" for problem in self.problems)])


def refuse(file: Path, message: str, line: int | None = None, path: str = "") -> StudyError:
    """Return the error with one problem."""
    return StudyError([Problem(file, line, path, message)])
