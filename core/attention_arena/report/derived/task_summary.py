"""A task, and how its scores are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attention_arena.report.reading.naming import source_mark
from attention_arena.statistics import Interval


@dataclass(frozen=True)
class TaskSummary:
    """What a task measures, whose data it is, and what needs no model."""

    name: str
    label: str
    """The name, with the options that tell it apart from a namesake."""
    metric: str | None
    unit: str | None
    higher_is_better: bool | None
    source: str | None
    trivial: Mapping[str, float]
    """Scores that need no model, the weakest first."""

    @property
    def heading(self) -> str:
        """The label, with a mark where the data are not the official ones."""
        return self.label + source_mark(self.source)

    @property
    def measured_in(self) -> str:
        """Metric, unit and direction: `accuracy (%), higher is better`."""
        return self._measured({True: ", higher is better", False: ", lower is better", None: ""})

    @property
    def measured_briefly(self) -> str:
        """Metric, unit and direction for a narrow place: `accuracy (%) ↑`."""
        return self._measured({True: " ↑", False: " ↓", None: ""})

    def _measured(self, directions: Mapping[bool | None, str]) -> str:
        if self.metric is None:
            return "no score"
        named = self.unit is None or self.unit in self.metric.split("_")
        return self.metric.replace("_", " ") + ("" if named else f" ({self.unit})") + directions[self.higher_is_better]

    def better(self, value: float, other: float) -> bool:
        """Whether `value` beats `other`; never where the metric has no direction."""
        return self.higher_is_better is not None and (value > other if self.higher_is_better else value < other)

    def shown_better(self, score: Interval, trivial: float) -> bool:
        """Whether all of the score's interval, or the score itself where there is none, beats `trivial`."""
        worst = score.low if self.higher_is_better else score.high
        return self.better(score.value if worst is None else worst, trivial)

    def unbeaten(self, score: Interval) -> list[str]:
        """Return the scores without a model that `score` is not shown to beat, the weakest first."""
        if self.higher_is_better is None:
            return []
        return [name for name, trivial in self.trivial.items() if not self.shown_better(score, trivial)]

    def at_chance(self, score: Interval) -> bool:
        """Whether `score` is shown to beat none of those that need no model, not even the weakest."""
        return bool(self.trivial) and len(self.unbeaten(score)) == len(self.trivial)
