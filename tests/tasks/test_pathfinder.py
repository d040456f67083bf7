import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from attention_arena.task import TaskError
from attention_arena.testing import check_task
from attention_arena_tasks import pathfinder
from attention_arena_tasks.pathfinder import PATH_X, PATHFINDER, drawing
from attention_arena_tasks.pathfinder.baselines import STATISTICS
from attention_arena_tasks.pathfinder.data import PathfinderOptions, PathXOptions, load, needs
from attention_arena_tasks.pathfinder.drawing import draw, draw_into
from attention_arena_tasks.pathfinder.generate import Range, layout
from attention_arena_tasks.pathfinder.sheet import sheet

SMALL = {"difficulty": "curv_baseline", "n_train": 150, "n_validation": 31, "n_test": 40}


def test_both_tasks_register_themselves() -> None:
    assert [task.name for task in pathfinder.register_tasks()] == ["pathfinder", "path_x"]


@pytest.mark.parametrize("task", [PATHFINDER, PATH_X], ids=["pathfinder", "path_x"])
def test_the_task_keeps_the_contract(task: object, tmp_path: Path) -> None:
    findings = check_task(task, tmp_path)  # type: ignore[arg-type]
    assert [finding for finding in findings if finding.verdict == "failed"] == []


def test_path_x_is_pathfinder_of_128_pixels() -> None:
    theirs = PathfinderOptions(size=128).model_dump()
    assert PathXOptions().model_dump() == theirs
    assert needs(PathXOptions()).max_length == 16_384
    assert needs(PathfinderOptions()).max_length == 1_024


def test_what_comes_out_is_what_was_asked_for(tmp_path: Path) -> None:
    options = PathfinderOptions(**SMALL)
    data = load(options, tmp_path)
    assert (data.train.n_examples, data.validation.n_examples, data.test.n_examples) == (150, 31, 40)
    assert data.source.kind == "generated"
    assert (data.vocab_size, data.max_length) == (256, 1024)
    assert data.objective.requires == needs(options).capabilities
    assert set(data.trivial_baselines) == {"majority class", *STATISTICS, "nearest mean image"}
    batch = next(data.train.batches(8))
    assert batch.tokens.shape == (8, 1024)
    assert batch.valid is None, "black is a pixel like others, and nothing is padded"
    assert (int(batch.tokens.min()), int(batch.tokens.max())) == (0, 255)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"size": 32, "difficulty": "curv_contour_length_14"},
            "a3cc58d8b56ff39b17239cae27ae012ea2904ae1ee2801c30a0c1da61384c0c7",
        ),
        (
            {"size": 64, "difficulty": "curv_contour_length_9"},
            "e5eaf78581e35873c2702a90f3261d0ab585baa0b013f73240501de82b657271",
        ),
        (
            {"size": 128, "difficulty": "curv_baseline"},
            "a38e246202cf9edd6758287861d665ba9bd2701f461421eb9a8f05513b97bc3a",
        ),
        (
            {"size": 256, "difficulty": "curv_contour_length_14"},
            "2609255548d090d2f8f7368cac6e41eaa51cb0574aa8fdb3ff74fb592049f977",
        ),
    ],
)
def test_the_data_are_the_same_on_every_machine(options: dict[str, object], expected: str, tmp_path: Path) -> None:
    data = load(PathfinderOptions(**options, n_train=6, n_validation=2, n_test=2), tmp_path)  # type: ignore[arg-type]
    assert data.data_hash == expected


def test_the_data_are_the_same_in_another_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from attention_arena_tasks.pathfinder.data import PathfinderOptions, load\n"
        f"print(load(PathfinderOptions(**{SMALL}), pathlib.Path(sys.argv[1])).data_hash)"
    )
    here = load(PathfinderOptions(**SMALL), tmp_path / "here").data_hash
    there = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_an_image_depends_on_seed_split_and_number_alone() -> None:
    all_at_once = draw(Range(3, 1, 0, 20), 32, "curv_contour_length_9")
    np.testing.assert_array_equal(draw(Range(3, 1, 7, 6), 32, "curv_contour_length_9"), all_at_once[7:13])
    np.testing.assert_array_equal(layout(Range(3, 1, 7, 6))[1], layout(Range(3, 1, 0, 20))[1][7:13])


def test_several_processes_draw_what_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CHUNK", 7)
    images, files, advanced = Range(0, 0, 0, 30), [tmp_path / "one.npy", tmp_path / "two.npy"], []
    for file, n_processes in zip(files, (1, 2), strict=True):
        np.save(file, np.zeros((30, 32, 32), dtype=np.uint8))
        draw_into(file, images, 32, "curv_baseline", advanced.append, n_processes)
    one, two = (np.load(file) for file in files)
    np.testing.assert_array_equal(one, two)
    assert one.reshape(30, -1).max(axis=1).min() == 255, "every image is drawn"
    assert sorted(advanced) == sorted(2 * [7, 7, 7, 7, 2])


def test_a_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CHUNK", 2)
    with pytest.raises(TaskError, match=r"ended early: FileNotFoundError.*not_there\.npy"):
        draw_into(tmp_path / "not_there.npy", Range(0, 0, 0, 8), 32, "curv_baseline", lambda n: None, 2)


def test_prepared_data_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(PathfinderOptions(**SMALL), tmp_path)
    monkeypatch.setattr("attention_arena_tasks.pathfinder.data.draw_into", lambda *_: pytest.fail("drawn twice"))
    second = load(PathfinderOptions(**SMALL), tmp_path)
    assert (first.data_hash, first.trivial_baselines) == (second.data_hash, second.trivial_baselines)


def test_less_to_train_on_leaves_the_test_as_it_is(tmp_path: Path) -> None:
    few, many = (load(PathfinderOptions(**{**SMALL, "n_train": n}), tmp_path) for n in (20, 50))
    assert few.test.content_hash == many.test.content_hash
    assert few.validation.content_hash == many.validation.content_hash
    tokens = [next(data.train.batches(20)).tokens for data in (few, many)]
    assert (tokens[0] == tokens[1]).all()


def test_seeds_and_splits_differ_and_no_image_is_there_twice(tmp_path: Path) -> None:
    data = [load(PathfinderOptions(**SMALL, seed=seed), tmp_path) for seed in (0, 1)]
    images = [
        row.numpy().tobytes()
        for each in data
        for split in (each.train, each.validation, each.test)
        for row in next(split.batches(200)).tokens
    ]
    assert len(images) == len(set(images)) == 2 * 221


def test_simple_statistics_tell_little_of_the_class(tmp_path: Path) -> None:
    options = PathfinderOptions(n_train=1000, n_validation=2, n_test=600)
    scores = load(options, tmp_path).trivial_baselines
    assert scores["majority class"] == 50.0
    # The standard error is 2 points. How far apart the markers are tells a little, in the reference images too (58 %).
    assert max(score for name, score in scores.items() if name != "distance between the markers") < 57
    assert scores["distance between the markers"] < 62


def test_a_statistic_that_gives_the_class_away_is_found_out(tmp_path: Path) -> None:
    from attention_arena.splits import ExampleSplit
    from attention_arena_tasks.pathfinder.baselines import trivial_baselines

    images = draw(Range(0, 0, 0, 400), 32, "curv_baseline")
    labels = layout(Range(0, 0, 0, 400))[1]
    images[labels == 1, :3, :3] = 200
    split = ExampleSplit(images.reshape(-1), np.arange(401) * 1024, labels)
    scores = trivial_baselines(split, split, 32)
    assert scores["nearest mean image"] > 90
    assert scores["number of bright pixels"] > 60


def test_a_sheet_shows_both_classes() -> None:
    images = np.stack([np.full((32, 32), 200 + label, dtype=np.uint8) for label in (0, 1, 0, 1)])
    page = sheet(images, np.array([0, 1, 0, 1], dtype=np.uint8), columns=2, rows=1)
    assert page.shape == (2 * 200, 2 * 200)
    assert set(np.unique(page[:200])) == {96, 201}
    assert set(np.unique(page[200:])) == {96, 200}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": 48}, "size"),
        ({"difficulty": "hard"}, "difficulty"),
        ({"path": "somewhere"}, "set source to official"),
        ({"n_tran": 5}, "n_tran"),
        ({"n_train": 0}, "n_train"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        PathfinderOptions.model_validate(options)
