"""How the axes of a cost panel run: logarithmic, on which a power is a straight line, or linear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from attention_arena.report.figures.style import log_ticks


class Scale(NamedTuple):
    """A pair of axes: what runs evenly along them, and where their ticks stand."""

    even: Callable[[float], float]
    """Value -> what runs evenly along an axis."""
    back: Callable[[float], float]
    start: Callable[[float], float]
    """Lowest value -> where the vertical axis begins."""
    narrowest: float
    """Least height of a panel, in what runs evenly."""
    set_axes: Callable[[Any], None]
    ticks: Callable[[Sequence[float], int], Any]
    """Values and base -> locator."""
    at_lengths: bool
    """Whether every length has its tick; on a linear axis the short ones stand too close."""

    def limits(self, low: float, high: float, below: float, above: float) -> tuple[float, float]:
        """Return the ends of an axis from `low` to `high` with room on either side, as shares of the axis."""
        first, last = self.even(low), self.even(high)
        span = max(last - first, self.narrowest)
        return self.back(first - below * span), self.back(last + above * span)

    def at(self, limits: tuple[float, float], share: float) -> float:
        """Return the value at a share of the way along an axis."""
        first, last = (self.even(each) for each in limits)
        return self.back(first + share * (last - first))

    def share(self, limits: tuple[float, float], value: float) -> float:
        """Return how far along an axis a value lies."""
        first, last = (self.even(each) for each in limits)
        return (self.even(value) - first) / (last - first)


def _log_axes(panel: Any) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")


def _linear_axes(panel: Any) -> None:
    panel.set_xscale("linear")
    panel.set_yscale("linear")


def _few_ticks(values: Sequence[float], base: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _same(value: float) -> float:
    return value


def _zero(lowest: float) -> float:
    return 0.0


LOGARITHMIC = Scale(math.log, math.exp, _same, math.log(1.5), _log_axes, log_ticks, at_lengths=True)
LINEAR = Scale(_same, _same, _zero, 1e-12, _linear_axes, _few_ticks, at_lengths=False)
