"""What a file of published numbers may hold, checked as strictly as a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Kind(NamedTuple):
    """What is known of a metric."""

    units: tuple[str, ...]
    higher_is_better: bool
    is_cost: bool = False


METRICS: Mapping[str, Kind] = {
    "accuracy": Kind(("%",), higher_is_better=True),
    "perplexity": Kind(("per word", "per character", "per byte"), higher_is_better=False),
    "bits_per_byte": Kind(("bits",), higher_is_better=False),
    "bits_per_character": Kind(("bits",), higher_is_better=False),
    "training_speed": Kind(("steps/s",), higher_is_better=True, is_cost=True),
    "training_step": Kind(("s",), higher_is_better=False, is_cost=True),
    "training_time": Kind(("h",), higher_is_better=False, is_cost=True),
    "peak_memory": Kind(("GB", "MB"), higher_is_better=False, is_cost=True),
}
"""Metric -> its units and direction. A score has the name and unit that our task gives it."""

Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Column(_Part):
    """What one column of a table is."""

    task: Text
    """Our task that poses the same problem."""
    metric: str
    unit: str
    length: Annotated[int, Field(ge=1)] | None = None
    """Tokens, of a cost."""
    options: dict[str, str | int | bool] = {}
    """Options under which our task, on official data, is the source's problem."""

    @model_validator(mode="after")
    def _is_known(self) -> Column:
        kind = METRICS.get(self.metric)
        if kind is None:
            raise ValueError(f"metric {self.metric!r} is unknown; known: {', '.join(METRICS)}")
        if self.unit not in kind.units:
            raise ValueError(f"{self.metric} has unit {' or '.join(kind.units)}, got {self.unit!r}")
        return self


class Row(_Part):
    """A model and its numbers, one a column; None where the source has none, or none that can be trusted."""

    named: Text
    """As the source names it."""
    note: Text | None = None
    """What tells it from its namesakes: its size, its setting."""
    variant: Text | None = None
    """Our variant of the same idea; None where we have none."""
    values: list[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None]

    @property
    def name(self) -> str:
        """The name with its note."""
        return f"{self.named} ({self.note})" if self.note else self.named


class Table(_Part):
    """One table of the source."""

    where: Text
    caveat: Text | None = None
    """What a reader of this table must know beside the file's caveat."""
    columns: Annotated[list[Column], Field(min_length=1)]
    rows: Annotated[list[Row], Field(min_length=1)]


class SourceFile(_Part):
    """One source."""

    source: Text
    """Its short name: `LRA 2020`."""
    citation: Text
    caveat: Text
    """Why its numbers are not to be read as if they had been measured here."""
    licence: Text
    tables: Annotated[list[Table], Field(min_length=1)]
