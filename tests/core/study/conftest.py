"""A small catalogue of made-up variants, tasks and measures, and a writer of study files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import Field
from torch import nn

from attention_arena.catalogue import Catalogue, LoadedPlugin, Plugin, collect_catalogue
from attention_arena.hooks import hookimpl
from attention_arena.measure import Measure
from attention_arena.study import Plan, load_study
from attention_arena.task import Task, TaskNeeds
from attention_arena.variant import Backbone, Capability, ModelShape, Options, Variant

TWO_SIDED = frozenset({Capability.BIDIRECTIONAL, Capability.PADDING})
BOTH = TWO_SIDED | {Capability.CAUSAL}


class NoOptions(Options):
    pass


class LowRankOptions(Options):
    rank: int = Field(16, ge=1)
    sharing: str = "none"


class HashOptions(Options):
    n_hashes: int = Field(2, ge=1, le=64)
    bucket: int = Field(8, ge=1)
    widths: tuple[int, ...] = ()
    root: Path = Path("here")


class SequenceOptions(Options):
    max_length: int = Field(64, ge=1)


class SpeedOptions(Options):
    lengths: tuple[int, ...] = (16,)


def build(options: Any, shape: ModelShape) -> Backbone:
    backbone = Backbone()
    backbone.weight = nn.Linear(shape.d_model, shape.d_model)
    return backbone


def build_low_rank(options: LowRankOptions, shape: ModelShape) -> Backbone:
    if options.rank > shape.max_length:
        raise ValueError(f"rank must not exceed max_length ({shape.max_length}), got {options.rank}")
    return build(options, shape)


def make_reversible(options: HashOptions, shape: ModelShape) -> ModelShape:
    return shape.model_copy(update={"residual": "reversible"})


FULL = Variant("full", "All pairs.", "-", BOTH, NoOptions, build)
LOW_RANK = Variant("low_rank", "Projected keys.", "-", TWO_SIDED, LowRankOptions, build_low_rank)
HASHING = Variant("hashing", "Buckets.", "-", BOTH, HashOptions, build, adapt_shape=make_reversible)


def no_data(options: Any, folder: Path) -> Any:
    raise AssertionError("planning a study must not load data")


PARITY = Task(
    "parity", 1, "Odd or even.", "-", SequenceOptions, lambda o: TaskNeeds(TWO_SIDED, o.max_length, False), no_data
)
BABBLE = Task(
    "babble", 1, "Next token.", "-", SequenceOptions,
    lambda o: TaskNeeds(frozenset(), o.max_length, True), no_data,
)  # fmt: skip
SPEED = Measure("speed", "Time.", SpeedOptions, lambda options, subject: [])
MEMORY = Measure("memory", "Bytes.", SpeedOptions, lambda options, subject: [])
SPECTRUM = Measure("spectrum", "Of what was learned.", SpeedOptions, lambda options, subject: [], needs_training=True)


class Fakes:
    @hookimpl
    def register_variants(self) -> Sequence[Variant]:
        return [FULL, LOW_RANK, HASHING]

    @hookimpl
    def register_tasks(self) -> Sequence[Task]:
        return [PARITY, BABBLE]

    @hookimpl
    def register_measures(self) -> Sequence[Measure]:
        return [SPEED, MEMORY, SPECTRUM]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    collected = collect_catalogue([LoadedPlugin(Plugin("fakes", "fake-distribution", "1.0"), Fakes())])
    assert not collected.problems
    return collected


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a study file and return its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write_text


@pytest.fixture
def load(write: Callable[[str], Path], catalogue: Catalogue) -> Callable[..., Plan]:
    """Write a study file and load it."""

    def load_text(text: str, profile: str | None = None) -> Plan:
        return load_study(write(text), profile, catalogue)

    return load_text


@pytest.fixture
def complaints(load: Callable[..., Plan]) -> Callable[..., list[tuple[int | None, str, str]]]:
    """Load a study file that has problems and return each one's line, path and message."""
    from attention_arena.study import StudyError

    def list_problems(text: str, profile: str | None = None) -> list[tuple[int | None, str, str]]:
        with pytest.raises(StudyError) as caught:
            load(text, profile)
        return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]

    return list_problems
