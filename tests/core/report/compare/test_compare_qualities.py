from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from attention_arena.report.compare import compare_sides, read_sides
from attention_arena.report.compare.finding import Finding, Kind
from attention_arena.runs.record import MeasurementRow
from attention_arena.statistics import holm

SCORED = "test, best step"


def write(fakes: Any, results: Path, skill: float = 0.5, **changes: Any) -> Path:
    """A language model's study, whose runs have every metric on test."""
    variants = [fakes.SOFTMAX, fakes.TRANSFORMER_XL._replace(skill=skill)]
    study = {"variants": variants, "tasks": [fakes.LANGUAGE_MODEL], "examples": 400, "seeds": [0, 1, 2], **changes}
    folder: Path = fakes.FakeStudy(**study).write(results)
    for run in folder.glob("runs/*"):
        arrays = numpy.load(run / "predictions.npz")
        loss = float(arrays["best_nats"].sum() / arrays["best_tokens"].sum())
        found = {"bits_per_byte": loss / math.log(2), "loss": loss, "perplexity": math.exp(loss)}
        add(run, [row(metric, SCORED, value) for metric, value in found.items()])
    return folder


def row(measure: str, phase: str, value: float | None, **changes: Any) -> MeasurementRow:
    units = {"loss": "nats", "perplexity": "per byte"}
    facts = {"unit": units.get(measure, "bits"), "higher_is_better": False, **changes}
    return MeasurementRow(measure=measure, phase=phase, value=value, **facts)


def add(run: Path, rows: Sequence[MeasurementRow]) -> None:
    path = run / "record.json"
    content = json.loads(path.read_text())
    content["measurements"] += [each.model_dump() for each in rows]
    path.write_text(json.dumps(content))


def add_to_all(folder: Path, *rows: MeasurementRow) -> None:
    for run in folder.glob("runs/*transformer_xl*"):
        add(run, rows)


def found_of(kind: Kind, first: Path, other: Path) -> dict[str, Finding]:
    [against] = compare_sides(read_sides([first, other]))
    return {each.what: each for each in against.of(kind) if each.label.startswith("transformer_xl")}


def test_every_further_metric_is_compared_on_the_same_examples(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", skill=0.6)
    found = found_of("metric", first, other)
    assert set(found) == {"loss", "perplexity"}
    loss, perplexity = found["loss"], found["perplexity"]
    assert loss.found is not None
    assert perplexity.found is not None
    assert {(each.verdict, each.reason, each.found and each.found.n_seeds) for each in (loss, perplexity)} == {
        ("improved", "", 3)
    }
    assert loss.found.difference == pytest.approx(loss.mine - loss.theirs)  # type: ignore[operator]
    assert perplexity.ratio
    assert perplexity.found.difference == pytest.approx(math.exp(loss.found.difference))


def test_a_metric_that_one_side_lacks_is_named(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    add_to_all(other, row("calibration", SCORED, 0.1))
    assert found_of("metric", first, other)["calibration"].verdict == "only in the other"
    assert found_of("metric", other, first)["calibration"].verdict == "only in the first"


def test_metrics_are_compared_protocol_by_protocol(tmp_path: Path, fakes: Any) -> None:
    changes = {"perplexity": True, "seeds": [0]}
    first = write(fakes, tmp_path / "a", **changes)
    other = write(fakes, tmp_path / "b", skill=1.2, **changes)
    found = found_of("metric", first, other)
    protocols = {f"{metric}, {name}" for metric in ("bits_per_byte", "loss")
                 for name in ("chunks", "sliding, stride 128", "cached")}  # fmt: skip
    assert set(found) == protocols | {"loss", "perplexity"}
    cached = found["bits_per_byte, cached"]
    assert cached.verdict == "improved"
    assert (cached.theirs, cached.mine) == (pytest.approx(3.4 - 1.0), pytest.approx(3.4 - 2.4))
    assert cached.length == 512


def test_perplexity_by_protocol_is_a_ratio(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    for folder, value in ((first, 8.0), (other, 4.0)):
        add_to_all(folder, row("perplexity", "chunks", value, low=value * 0.99, high=value * 1.01))
    found = found_of("metric", first, other)["perplexity, chunks"]
    assert found.found is not None
    assert found.found.difference == pytest.approx(0.5)
    assert found.verdict == "improved"


def test_a_protocol_that_cannot_be_done_any_more_got_worse(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    add_to_all(first, row("loss", "cached", 1.0))
    add_to_all(other, row("loss", "cached", None, status="unsupported", detail="no state"))
    found = found_of("metric", first, other)["loss, cached"]
    assert (found.verdict, found.reason) == ("got worse", "unsupported now: no state")


def test_single_figures_with_a_direction_are_diagnostics_and_no_others(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    for folder, value in ((first, 0.5), (other, 0.9)):
        ends = {"low": value - 0.01, "high": value + 0.01}
        add_to_all(
            folder,
            row("recall", "trained", value, unit="share", higher_is_better=True, **ends),
            row("entropy", "trained", value, unit="share", higher_is_better=None),
            row("by_layer", "trained", value, layer=0),
            row("by_position", "trained", value, position=3),
            row("loss", "validation, best step", value),
            row("loss", "test, last step", value),
            row("parameters", "total", 10.0 * value, unit="parameters"),
        )
    found = found_of("diagnostic", first, other)
    assert set(found) == {"recall, trained"}
    assert found["recall, trained"].verdict == "improved"
    assert not found["recall, trained"].ratio


def test_qualities_of_other_data_are_not_compared(tmp_path: Path, fakes: Any) -> None:
    first = write(fakes, tmp_path / "a")
    other = write(fakes, tmp_path / "b", changes={"data_hash": "ee" * 32})
    for folder in (first, other):
        add_to_all(folder, row("recall", "trained", 0.5, unit="share"), row("loss", "chunks", 1.0))
    found = found_of("metric", first, other) | found_of("diagnostic", first, other)
    assert set(found) == {"loss", "perplexity", "loss, chunks", "recall, trained"}
    assert {(each.verdict, each.reason) for each in found.values()} == {("not comparable", "scored on other data")}


def test_where_a_side_has_no_run_that_is_done_its_score_alone_tells(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    for path in other.glob("runs/*transformer_xl*/record.json"):
        content = json.loads(path.read_text())
        content["record"] |= {"status": "failed", "detail": "no", "value": None, "value_last": None}
        path.write_text(json.dumps(content | {"measurements": []}))
    assert found_of("score", first, other)["bits_per_byte"].verdict == "got worse"
    assert found_of("metric", first, other) == {}


def test_each_kind_is_a_family_over_all_sides_that_are_compared_at_once(tmp_path: Path, fakes: Any) -> None:
    folders = [write(fakes, tmp_path / name, skill=skill) for name, skill in (("a", 0.5), ("b", 0.52), ("c", 0.54))]
    compared = compare_sides(read_sides(folders))
    for kind in ("score", "metric", "cost"):
        tested = [each for against in compared for each in against.findings if each.kind == kind and each.p_adjusted]
        assert len({id(against) for against in compared}) == 2
        assert len(tested) >= 4
        expected = holm([each.found.p for each in tested if each.found])
        assert sorted(each.p_adjusted or 0.0 for each in tested) == pytest.approx(sorted(expected))
