"""Two variants' runs on one task as pairs of per-example scores, seed by seed, or the reason why they are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from attention_arena.report.reading.predictions import PredictionsError, read_predictions
from attention_arena.statistics import Comparison, Quotient, compare, quotient_of
from attention_arena.statistics.quotients import TOLERANCE


class Pair(NamedTuple):
    """A variant's runs on one task and those of what it is compared with, by seed."""

    mine: Mapping[int, Mapping[str, Any]]
    theirs: Mapping[int, Mapping[str, Any]]
    n_planned: int
    """Seeds that the variant was to have."""


@dataclass(frozen=True)
class Told:
    """What a pair's predictions tell; no comparison where `reason` says why."""

    comparison: Comparison | None
    reason: str | None


class UnpairedError(Exception):
    """Two runs cannot be compared example by example; the message says why."""


class Scores:
    """Per-example scores of the runs in `folder`; those of what variants are compared with are kept for the next one.

    These lie in `base_folder`, where that is another one.
    """

    def __init__(self, folder: Path, base_folder: Path | None = None) -> None:
        self.folder, self.base_folder = folder, base_folder or folder
        self.kept: dict[Path, tuple[Quotient, Any] | str] = {}

    def compare(self, pair: Pair) -> Told:
        """Compare over the seeds that both have with the same data, and say what limits that."""
        seeds = [seed for seed in pair.mine if seed in pair.theirs]
        if not seeds:
            return Told(None, _why_no_pair(pair))
        pairs, missing = [], {}
        for seed in seeds:
            try:
                pairs.append(self._paired(pair.mine[seed], pair.theirs[seed]))
            except UnpairedError as error:
                missing[seed] = str(error)
        if not pairs:
            return Told(None, next(iter(missing.values())))
        try:
            comparison = compare([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
        except ValueError as error:
            return Told(None, str(error))
        limits = [f"over {len(pairs)} of {pair.n_planned} seeds"] if len(pairs) < pair.n_planned else []
        if len(pairs) == 1:
            limits.append("for this seed: one seed says nothing of how another would have trained")
        limits += [f"without seed {seed}: {why}" for seed, why in missing.items()]
        return Told(comparison, "; ".join(limits) or None)

    def _paired(self, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[Quotient, Quotient]:
        for key, words in (("metric", "metrics"), ("task_version", "versions of the task"), ("data_hash", "data")):
            if mine[key] != theirs[key]:
                raise UnpairedError(f"the two were scored on different {words}")
        if mine["higher_is_better"] is None:
            raise UnpairedError(f"{mine['metric']} has no direction")
        base, base_targets = self._score(theirs, self.base_folder, keep=True)
        score, targets = self._score(mine, self.folder, keep=False)
        if (targets is None) != (base_targets is None) or (targets is not None and not _equal(targets, base_targets)):
            raise UnpairedError("the examples are not the same, or not in the same order")
        return score, base

    def _score(self, row: Mapping[str, Any], folder: Path, keep: bool) -> tuple[Quotient, Any]:
        inside = folder / Path(row["run"]).name
        found = self.kept.get(inside)
        if found is None:
            try:
                found = self._read(row, inside)
            except (PredictionsError, ValueError) as error:
                found = str(error)
            if keep:
                self.kept[inside] = found
        if isinstance(found, str):
            raise UnpairedError(found)
        return found

    def _read(self, row: Mapping[str, Any], inside: Path) -> tuple[Quotient, Any]:
        arrays = read_predictions(inside)
        score = quotient_of(row["metric"], row["unit"], arrays)
        if score is None:
            raise ValueError(f"{row['metric']} is not known as a quotient of per-example values")
        if not abs(score.value - row["value"]) <= TOLERANCE * max(1.0, abs(row["value"])):
            raise ValueError(f"the predictions of {row['run']} give {score.value:.6g}, its record {row['value']:.6g}")
        return score, arrays.get("target")


def _equal(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and (one == other).all())


def _why_no_pair(pair: Pair) -> str:
    if not pair.theirs:
        return "the baseline has no score here"
    return "no seed has a score of both" if pair.mine else "it has no score here"
