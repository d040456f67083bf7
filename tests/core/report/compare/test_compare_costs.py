from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.compare import compare_sides, read_sides
from attention_arena.report.compare.costs import DRIFT
from attention_arena.report.compare.finding import Finding


def write(fakes: Any, results: Path, **changes: Any) -> Path:
    study = {"variants": [fakes.SOFTMAX, fakes.REFORMER], "tasks": [fakes.LISTOPS], "seeds": [0, 1, 2], **changes}
    return fakes.FakeStudy(**study).write(results)


def costs(first: Path, other: Path, label: str) -> dict[tuple[str, int | None], Finding]:
    [against] = compare_sides(read_sides([first, other]))
    return {(each.what, each.length): each for each in against.findings if each.kind == "cost" and each.label == label}


def change_measurements(folder: Path, **changes: Any) -> None:
    """Overwrite fields in every measurement of a softmax run that is a step's time in training."""
    for path in folder.glob("runs/*softmax*/record.json"):
        content = json.loads(path.read_text())
        for row in content["measurements"]:
            if (row["measure"], row["phase"]) == ("step_time", "training"):
                row |= changes
        path.write_text(json.dumps(content))


def test_a_cost_is_compared_by_its_ratio_over_seeds(tmp_path: Path, fakes: Any) -> None:
    slower = fakes.REFORMER._replace(speed=fakes.REFORMER.speed / 2)
    found = costs(write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=[slower]), slower.label)
    speed = found["training speed", 2000]
    assert speed.verdict == "got worse"
    assert speed.found is not None
    assert speed.found.difference == pytest.approx(0.5)
    assert speed.found.low < 0.5 < speed.found.high


def test_an_interval_of_its_own_serves_a_single_run(tmp_path: Path, fakes: Any) -> None:
    label = fakes.REFORMER.label
    folders = [
        write(fakes, tmp_path / side, seeds=[0], time_ratios={label: ratio}) for side, ratio in (("a", 1.6), ("b", 1.2))
    ]
    ratio = costs(*folders, label)["time_ratio, training", 1024]
    assert ratio.verdict == "improved"
    assert ratio.found is not None
    assert ratio.found.difference == pytest.approx(0.75)


def test_one_run_without_an_interval_shows_no_difference(tmp_path: Path, fakes: Any) -> None:
    slower = fakes.REFORMER._replace(speed=fakes.REFORMER.speed / 2)
    folders = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=[slower])
    time = costs(*folders, slower.label)["step_time, inference", 512]
    assert (time.verdict, time.reason) == ("no difference shown", "one run a side, and no interval")
    assert time.theirs is not None
    assert time.mine == pytest.approx(2 * time.theirs)


def test_times_of_two_sessions_have_no_verdict_where_there_are_such_by_turns(tmp_path: Path, fakes: Any) -> None:
    slow = (
        fakes.SOFTMAX._replace(speed=fakes.SOFTMAX.speed / 2),
        fakes.REFORMER._replace(speed=fakes.REFORMER.speed / 2),
    )
    label = slow[1].label
    first = write(fakes, tmp_path / "a", time_ratios={label: 1.2})
    other = write(fakes, tmp_path / "b", time_ratios={label: 1.2}, variants=slow)
    for of in ("softmax", label):
        found = costs(first, other, of)["training speed", 2000]
        assert (found.verdict, found.reason) == ("not comparable", DRIFT)
        assert found.found is not None
    assert costs(first, other, label)["time_ratio, training", 1024].verdict == "no difference shown"


def test_what_is_counted_needs_no_interval(tmp_path: Path, fakes: Any) -> None:
    leaner = fakes.SOFTMAX._replace(exponent=1.0)
    found = costs(write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=[leaner]), "softmax")
    assert (found["FLOPs per token", None].verdict, found["FLOPs per token", None].reason) == ("improved", "counted")
    assert found["saved for backward", 2000].verdict == "improved"
    assert found["parameters", None].verdict == "no difference shown"
    assert found["parameters", None].reason == "counted: the same"


def test_times_of_two_machines_are_shown_without_a_verdict(tmp_path: Path, fakes: Any) -> None:
    slower = fakes.SOFTMAX._replace(speed=fakes.SOFTMAX.speed / 2, exponent=1.0)
    other = write(fakes, tmp_path / "b", variants=[slower], changes={"device_name": "Pentium"})
    found = costs(write(fakes, tmp_path / "a"), other, "softmax")
    speed = found["training speed", 2000]
    assert speed.verdict == "not comparable"
    assert speed.found is not None
    assert speed.reason == (
        "the machines’ difference: AMD EPYC 7763 (cpu), 2 threads, fp32 against Pentium (cpu), 2 threads, fp32"
    )
    assert found["FLOPs per token", None].verdict == "improved"


def test_running_out_of_memory_where_it_did_not_is_worse(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    change_measurements(other, value=None, status="oom", detail="out of memory")
    now, before = costs(first, other, "softmax"), costs(other, first, "softmax")
    assert (now["step_time, training", 512].verdict, now["step_time, training", 512].reason) == (
        "got worse",
        "oom now: out of memory",
    )
    assert before["step_time, training", 512].verdict == "improved"
    assert ("step_time, training", 2048) not in now


def test_a_length_that_one_side_alone_measured_is_named(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", measure=False)
    assert costs(first, other, "softmax")["step_time, inference", 256].verdict == "only in the first"
    assert costs(other, first, "softmax")["step_time, inference", 256].verdict == "only in the other"


def test_time_beside_another_baseline_is_not_compared(tmp_path: Path, fakes: Any) -> None:
    label = fakes.REFORMER.label
    first = write(fakes, tmp_path / "a", time_ratios={label: 1.2})
    fused = fakes.SOFTMAX._replace(label="softmax, fused")
    other = write(fakes, tmp_path / "b", time_ratios={label: 1.9}, variants=[fused, fakes.REFORMER])
    ratio = costs(first, other, label)["time_ratio, training", 1024]
    assert (ratio.verdict, ratio.reason) == ("not comparable", "beside softmax and beside softmax, fused")


def test_costs_of_layers_and_heads_and_what_has_no_direction_are_left_out(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b")
    change_measurements(other, layer=0)
    change_measurements(first, layer=0)
    found = costs(first, other, "softmax")
    assert ("step_time, training", 512) not in found
    assert ("step_time, inference", 512) in found
