from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from attention_arena.report.derived.comparisons import COLUMNS, MEANINGS, compare_with_baseline
from attention_arena.report.reading.predictions import PredictionsError, read_predictions
from attention_arena.report.reading.results import load_results


def _compared(folder: Path) -> pl.DataFrame:
    return compare_with_baseline(load_results(folder))


def _study(fakes: Any, **changes: Any) -> Any:
    return fakes.FakeStudy(**{"variants": [fakes.SOFTMAX, fakes.REFORMER], "examples": 600, **changes})


def test_every_column_has_its_meaning_and_stands_in_every_table(tmp_path: Path, fakes: Any) -> None:
    assert set(MEANINGS) == set(COLUMNS)
    frame = _compared(_study(fakes).write(tmp_path))
    assert dict(frame.schema) == dict(COLUMNS)
    assert dict(_compared(fakes.FakeStudy(name="empty", variants=[]).write(tmp_path / "none")).schema) == dict(COLUMNS)


def test_each_variant_is_compared_on_each_task_over_its_seeds(tmp_path: Path, fakes: Any) -> None:
    folder = _study(fakes, seeds=[0, 1, 2]).write(tmp_path)
    rows = _compared(folder).to_dicts()
    assert [(row["task"], row["label"], row["baseline"]) for row in rows] == [
        (task, fakes.REFORMER.label, "softmax") for task in ("listops", "language_model")
    ]
    runs = load_results(folder).runs
    for row in rows:
        of_task = runs.filter(pl.col("task") == row["task"])
        means = dict(of_task.group_by("label").agg(pl.col("value").mean()).iter_rows())
        assert row["difference"] == pytest.approx(means[fakes.REFORMER.label] - means["softmax"])
        assert row["low"] < row["difference"] < row["high"]
        assert row["detectable"] == pytest.approx((row["high"] - row["low"]) / 2)
        assert (row["n_seeds"], row["n_examples"], row["reason"]) == (3, 600, None)
    assert [row["unit"] for row in rows] == ["points", "bits"]
    # Fewer bits are better; the reformer of these fakes has the lower skill, so more of them.
    assert rows[1]["difference"] > 0
    assert rows[1]["verdict"] == "worse"


def test_p_values_are_corrected_over_all_comparisons_of_the_study(tmp_path: Path, fakes: Any) -> None:
    variants = [fakes.SOFTMAX, fakes.TRANSFORMER_XL, fakes.REFORMER]
    frame = _compared(_study(fakes, variants=variants, seeds=[0]).write(tmp_path))
    ordered = frame.sort("p")
    assert len(frame) == 4
    assert ordered["p_adjusted"][0] == pytest.approx(min(1.0, 4 * ordered["p"][0]))
    assert (frame["p_adjusted"] >= frame["p"]).all()


def test_one_seed_says_that_it_is_about_that_seed(tmp_path: Path, fakes: Any) -> None:
    frame = _compared(_study(fakes, seeds=[0]).write(tmp_path))
    assert frame["verdict"].null_count() == 0
    assert all(reason.startswith("for this seed") for reason in frame["reason"])


def test_a_seed_that_failed_is_left_out_and_told(tmp_path: Path, fakes: Any) -> None:
    verdicts = {(fakes.REFORMER.label, "listops", 1): ("oom", "killed")}
    frame = _compared(_study(fakes, seeds=[0, 1, 2], verdicts=verdicts).write(tmp_path))
    [row] = frame.filter(pl.col("task") == "listops").to_dicts()
    assert (row["n_seeds"], row["reason"]) == (2, "over 2 of 3 seeds")


def test_without_a_baseline_nothing_is_compared(tmp_path: Path, fakes: Any) -> None:
    assert _compared(_study(fakes, variants=[fakes.REFORMER]).write(tmp_path)).is_empty()


def _change_record(**columns: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = json.loads((run / "record.json").read_text())
        content["record"] |= columns
        (run / "record.json").write_text(json.dumps(content))

    return change


def _save(**arrays: Any) -> Callable[[Path], None]:
    return lambda run: np.savez_compressed(run / "predictions.npz", **arrays)


def _change_targets(run: Path) -> None:
    with np.load(run / "predictions.npz") as found:
        arrays = dict(found)
    np.savez_compressed(run / "predictions.npz", **{**arrays, "best_target": arrays["best_target"] + 1})


def _pickled(run: Path) -> None:
    np.savez(run / "predictions.npz", best_correct=np.array([{"a": 1}], dtype=object))


def _truncated(run: Path) -> None:
    content = (run / "predictions.npz").read_bytes()
    (run / "predictions.npz").write_bytes(content[: len(content) // 2])


def _huge(run: Path) -> None:
    """Write an array that claims more numbers than any memory holds."""
    header = b"\x93NUMPY\x01\x00"
    told = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(run / "predictions.npz", "w") as archive:
        archive.writestr("best_correct.npy", header + len(told).to_bytes(2, "little") + told)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "predictions.npz").unlink(), "is missing"),
        (_truncated, "is damaged"),
        (lambda run: (run / "predictions.npz").write_bytes(b"not an archive"), "is damaged"),
        (_pickled, "is damaged"),
        (_huge, "is damaged"),
        (_save(best_correct=np.ones((4, 4))), "must be numbers"),
        (_save(best_correct=np.array([np.nan, 1.0])), "must be finite"),
        (_save(best_correct=np.ones(600, bool)), "give 100, its record"),
        (_save(last_correct=np.ones(600, bool)), "not known as a quotient"),
        (_change_targets, "the examples are not the same"),
        (_change_record(data_hash="1a" * 32), "scored on different data"),
        (_change_record(task_version=2), "different versions of the task"),
        (_change_record(value=None), "it has no score here"),
    ],
    ids=[
        "missing", "truncated", "no archive", "pickled", "huge", "a table", "not finite", "another score", "no array",
        "other examples", "other data", "other version", "no score",
    ],
)  # fmt: skip
def test_what_cannot_be_compared_has_a_reason_and_no_verdict(
    tmp_path: Path, fakes: Any, spoil: Callable[[Path], None], reason: str
) -> None:
    folder = _study(fakes, tasks=[fakes.LISTOPS], seeds=[0]).write(tmp_path)
    [run] = folder.glob("runs/*.reformer.*")
    spoil(run)
    [row] = _compared(folder).to_dicts()
    assert reason in row["reason"]
    assert (row["verdict"], row["p"], row["difference"]) == (None, None, None)


def test_a_file_that_claims_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "predictions.npz", best_correct=np.zeros(10_000))
    monkeypatch.setattr("attention_arena.report.reading.predictions.MOST_BYTES", 1000)
    with pytest.raises(PredictionsError, match="more than 1,000"):
        read_predictions(tmp_path)


def test_each_file_is_read_once(tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [fakes.SOFTMAX, fakes.TRANSFORMER_XL, fakes.REFORMER]
    folder = _study(fakes, variants=variants, examples=50).write(tmp_path)
    read: list[Path] = []

    def counted(run: Path) -> dict[str, Any]:
        read.append(run)
        return read_predictions(run)

    monkeypatch.setattr("attention_arena.report.derived.pairing.read_predictions", counted)
    _compared(folder)
    assert sorted(read) == sorted(folder.glob("runs/*"))
