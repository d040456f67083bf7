"""Options of tasks whose data are either what the authors published or made here."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from attention_arena.variant import Options


class SourcedOptions(Options):
    """Where data come from; a task narrows `source` to its own words and describes both."""

    source: str
    path: Path | None = None

    @model_validator(mode="after")
    def _path_is_official(self) -> SourcedOptions:
        if self.path is not None and self.source != "official":
            raise ValueError(
                f"path is read with `source: official` only, got source {self.source!r}: set source to official, or "
                "leave path out"
            )
        return self
