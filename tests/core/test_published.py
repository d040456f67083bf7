from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest

from attention_arena.catalogue import load_catalogue
from attention_arena.errors import ConfigError
from attention_arena.published import METRICS, SCHEMA, load_published

PRINTED_AVERAGES = {
    ("LRA 2020", "Transformer", None): 54.39,
    ("LRA 2020", "Local Attention", None): 46.06,
    ("LRA 2020", "Sparse Transformer", None): 51.24,
    ("LRA 2020", "Longformer", None): 53.46,
    ("LRA 2020", "Linformer", None): 51.36,
    ("LRA 2020", "Reformer", None): 50.67,
    ("LRA 2020", "Synthesizer", None): 52.88,
    ("LRA 2020", "BigBird", None): 55.01,
    ("LRA 2020", "Linear Transformer", None): 50.55,
    ("LRA 2020", "Performer", None): 51.41,
    ("Nyströmformer 2021", "Standard", None): 58.77,
    ("Nyströmformer 2021", "Reformer", "2 hashes"): 55.04,
    ("Nyströmformer 2021", "Linformer", "rank 256"): 55.59,
    ("Nyströmformer 2021", "Performer", "256 features"): 53.63,
    ("Nyströmformer 2021", "Nyströmformer", None): 58.95,
    ("Skyformer 2021", "Self-Attention", None): 57.37,
    ("Skyformer 2021", "Nyströmformer", None): 58.93,
    ("Skyformer 2021", "Linformer", None): 54.69,
    ("Skyformer 2021", "Informer", None): 53.73,
    ("Skyformer 2021", "Performer", None): 58.00,
    ("Skyformer 2021", "Reformer", None): 58.99,
    ("Skyformer 2021", "BigBird", None): 59.05,
    ("Skyformer 2021", "Skyformer", None): 59.39,
    ("xFormers 2022", "Standard", None): 57.69,
    ("xFormers 2022", "Nyströmformer", "128 landmarks"): 57.61,
    ("xFormers 2022", "Favor", "256 features, redrawn"): 53.35,
    ("xFormers 2022", "FourierMix", None): 52.80,
    ("xFormers 2022", "Lambda", None): 49.22,
    ("xFormers 2022", "Orthoformer", "32 landmarks"): 54.19,
    ("Mega 2022", "XFM", "re-run"): 59.24,
    ("Mega 2022", "Luna-256", None): 61.95,
}
"""Mean over five tasks as each source prints it, where it agrees with the rows: a checksum of what was typed.

Left out: Sinkhorn, whose printed average (51.39) is not that of its rows (51.48); xFormers' Linformer, printed 54.2.
"""
GOOD = """
source: Paper 2020
citation: A paper
caveat: Other models.
licence: none
tables:
  - where: Table 1
    columns:
      - {task: listops, metric: accuracy, unit: "%"}
      - {task: text, metric: accuracy, unit: "%", options: {max_length: 4096}}
    rows:
      - {named: Transformer, variant: softmax, values: [36.4, null]}
      - {named: Linformer, note: rank 64, variant: linformer, values: [35.7, 53.9]}
"""


@pytest.fixture(scope="module")
def shipped() -> pl.DataFrame:
    return load_published()


def _read(folder: Path, text: str) -> pl.DataFrame:
    (folder / "paper.yaml").write_text(text, encoding="utf-8")
    return load_published(folder)


def test_a_file_becomes_a_row_for_each_number(tmp_path: Path) -> None:
    frame = _read(tmp_path, GOOD)
    assert tuple(frame.columns) == tuple(SCHEMA)
    assert frame.select("named", "note", "variant", "task", "value").rows() == [
        ("Transformer", None, "softmax", "listops", 36.4),
        ("Linformer", "rank 64", "linformer", "listops", 35.7),
        ("Linformer", "rank 64", "linformer", "text", 53.9),
    ]
    assert frame["higher_is_better"].all()
    assert json.loads(frame["options"][2]) == {"max_length": 4096}


MISTAKES = {
    "unknown key": ("licence: none", "licence: none\nnotes: x", r"notes: Extra inputs are not permitted"),
    "missing key": ("citation: A paper\n", "", r"citation: Field required"),
    "metric": ("metric: accuracy", "metric: acuracy", r"columns\[0\].*metric 'acuracy' is unknown"),
    "unit": ('unit: "%"}', "unit: points}", r"columns\[0\].*accuracy has unit %, got 'points'"),
    "too few values": ("[35.7, 53.9]", "[35.7]", r"rows\[1\] \(Linformer \(rank 64\)\): expected 2 values, got 1"),
    "negative": ("35.7", "-35.7", r"rows\[1\] \(Linformer\)\.values\[0\].*greater than 0"),
    "not a number": ("35.7", ".nan", r"rows\[1\] \(Linformer\)\.values\[0\]"),
    "twice": (
        "named: Linformer, note: rank 64, variant: linformer",
        "named: Transformer",
        r"rows\[1\] \(Transformer\): listops, accuracy stands in tables\[0\]\.rows\[0\] \(Transformer\) already",
    ),
    "key twice": ("source: Paper 2020", "source: Paper 2020\nsource: Paper 2021", r"source"),
}


@pytest.mark.parametrize(("right", "wrong", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_file_and_row(tmp_path: Path, right: str, wrong: str, words: str) -> None:
    assert right in GOOD
    with pytest.raises(ConfigError, match=r"(?s)paper\.yaml.*" + words):
        _read(tmp_path, GOOD.replace(right, wrong, 1))


def test_the_rows_come_to_the_averages_that_their_sources_print(shipped: pl.DataFrame) -> None:
    suite = shipped.filter((pl.col("metric") == "accuracy") & (pl.col("task") != "path_x"))
    keys = ("source", "named", "note")
    found = {row[:3]: row[3] for row in suite.group_by(*keys).agg(pl.col("value").mean()).iter_rows()}
    for key, printed in PRINTED_AVERAGES.items():
        # Half a unit of the last digit, and as much for a source that rounds down.
        assert found[key] == pytest.approx(printed, abs=0.0101), key


def test_every_number_has_its_source_and_caveat(shipped: pl.DataFrame) -> None:
    assert (
        shipped.select(pl.all_horizontal(pl.col("citation", "where", "caveat", "licence").str.len_chars() > 0))
        .to_series()
        .all()
    )
    assert shipped["source"].n_unique() == len(list(files("attention_arena.published").joinpath("sources").iterdir()))


def test_names_of_tasks_variants_options_and_metrics_are_ours(shipped: pl.DataFrame) -> None:
    catalogue = load_catalogue()
    assert set(shipped["variant"].drop_nulls()) <= set(catalogue.variants)
    assert set(shipped["metric"]) <= set(METRICS)
    for task, options in shipped.select("task", "options").unique().iter_rows():
        catalogue.task(task).options.model_validate(json.loads(options))


def test_scores_on_one_task_lie_where_they_can(shipped: pl.DataFrame) -> None:
    accuracy = shipped.filter(pl.col("metric") == "accuracy")["value"]
    assert accuracy.min() > 10
    assert accuracy.max() < 100
    assert shipped.filter(pl.col("metric") == "bits_per_byte")["value"].is_between(0.9, 1.3).all()
