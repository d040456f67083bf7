"""How far one curve of cost against length goes: beyond a length that ran out of memory or time nothing is tried."""

from __future__ import annotations

import math

from attention_arena.measures.passes import Reason

CERTAINTY = 1.5
"""A prediction must exceed the limit this many times to be believed, so that noise alone ends no curve."""


class Reach:
    """What the lengths so far told about longer ones; no call may take longer than `max_seconds`."""

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.seconds: dict[int, float] = {}
        self.end: tuple[int, Reason] | None = None

    def took(self, length: int, seconds: float) -> None:
        """Note what one call at a length took."""
        self.seconds[length] = seconds

    def failed(self, length: int, reason: Reason) -> None:
        """Note why there is nothing at a length; the shortest that ran out of memory or time is the end."""
        if reason.status in ("oom", "timeout") and (self.end is None or length < self.end[0]):
            self.end = (length, reason)

    def refusal(self, length: int) -> Reason | None:
        """Return why a length need not be tried, or None."""
        if self.end is not None and length > self.end[0]:
            at, reason = self.end
            return Reason(reason.status, f"not tried, because {at} tokens gave {reason.status} already")
        predicted = self._predicted(length)
        if predicted is None or predicted <= CERTAINTY * self.max_seconds:
            return None
        known = " and ".join(str(each) for each in sorted(self.seconds)[-2:])
        detail = f"not tried: {known} tokens predict {predicted:.3g} s a call, more than max_seconds"
        return Reason("timeout", f"{detail} ({self.max_seconds:g})")

    def _predicted(self, length: int) -> float | None:
        """Return the seconds of a call at a longer length, by the power law through the two longest known ones."""
        if len(self.seconds) < 2 or length <= max(self.seconds):
            return None
        shorter, longer = sorted(self.seconds)[-2:]
        growth = math.log(self.seconds[longer] / self.seconds[shorter]) / math.log(longer / shorter)
        return self.seconds[longer] * math.pow(length / longer, max(growth, 0.0))
