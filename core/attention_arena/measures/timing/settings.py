"""The precision and compilation under which a cell is timed, where a measure is asked for others than the run's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch

from attention_arena.measure import Subject

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Setting(NamedTuple):
    """Precision of the forward pass, and whether the model goes through `torch.compile`."""

    precision: str
    compile: bool

    def apply(self, subject: Subject) -> Subject:
        """Return the subject with its run in this setting."""
        if self.precision == subject.precision:
            return replace(subject, compile=self.compile)
        autocast: Callable[[], Any] = nullcontext
        if self.precision in DTYPES:
            autocast = partial(torch.autocast, subject.device.type, dtype=DTYPES[self.precision])
        return replace(subject, compile=self.compile, precision=self.precision, autocast=autocast)

    def phase(self, name: str, subject: Subject) -> str:
        """Return what a phase is called: its plain name in the run's own setting, else with both of these in words."""
        if self == (subject.precision, subject.compile):
            return name
        return f"{name}, {self.precision}, {'compiled' if self.compile else 'eager'}"


def settings_of(
    subject: Subject, precisions: Sequence[str] | None = None, compilations: Sequence[bool] | None = None
) -> list[Setting]:
    """Return every pair of a precision and a compilation, each once; the run's own stands for what is not given."""
    pairs = [
        Setting(precision, compiled)
        for compiled in (compilations if compilations is not None else [subject.compile])
        for precision in (precisions if precisions is not None else [subject.precision])
    ]
    return list(dict.fromkeys(pairs))
