"""The text task: options, stand-in, baselines, and what every source shares."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from attention_arena.byte_text import ids_of, text_of
from attention_arena.python_sources import standard_library
from attention_arena.splits import ExampleSplit
from attention_arena.task import TaskError
from attention_arena_tasks import text
from attention_arena_tasks.text import stand_in
from attention_arena_tasks.text.baselines import byte_bayes, trivial_baselines, word_bayes
from attention_arena_tasks.text.data import TextOptions, load, needs

SMALL: dict[str, Any] = {"max_length": 80, "n_train": 60, "n_validation": 20, "n_test": 30}


def texts_of(split: ExampleSplit) -> list[bytes]:
    return [text_of(split.tokens[a:b]) for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)]


def examples(*labelled: tuple[bytes, int]) -> ExampleSplit:
    return ExampleSplit(*ids_of([text for text, _ in labelled]), np.array([label for _, label in labelled]))


@pytest.fixture
def small_library(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Twelve made-up modules of each class, so that drawn passages are the same under every Python."""
    names = [sorted(modules)[:12] for modules in stand_in.CLASSES]
    library = {
        f"{name}.py": "".join(
            f"{word} {name} {place * place % 97} {'x' * (place % 23)}\n" for place in range(90)
        ).encode()
        for word, modules in zip(("socket", "decimal"), names, strict=True)
        for name in modules
    }
    monkeypatch.setattr(stand_in, "standard_library", lambda: library)
    return library


class TestStandIn:
    def test_the_passages_of_given_files_never_change(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        data = load(TextOptions(**SMALL), tmp_path)
        assert data.data_hash == "2f2e55dcbd6d621a63556a8f82b1716e63c98ae69389325a78a6bb1e00f113d6"

    def test_the_data_are_the_same_in_another_process(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib\n"
            "from attention_arena_tasks.text.data import TextOptions, load\n"
            f"data = load(TextOptions(**{SMALL}), pathlib.Path(sys.argv[1]))\n"
            "print(data.data_hash, dict(data.trivial_baselines))"
        )
        here = load(TextOptions(**SMALL), tmp_path / "here")
        there = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "there")],
            env={**os.environ, "PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert there.stdout.strip() == f"{here.data_hash} {dict(here.trivial_baselines)}"

    def test_every_passage_is_from_a_file_of_its_class_and_no_file_is_in_two_splits(self) -> None:
        library = standard_library()
        drawn = stand_in.draw({"train": 80, "validation": 20, "test": 40}, 1000, seed=0)
        files = {}
        for split, (texts, targets) in drawn.items():
            found = [{name for name, whole in library.items() if passage in whole} for passage in texts]
            for names, target in zip(found, targets, strict=True):
                assert any(name.partition("/")[0].removesuffix(".py") in stand_in.CLASSES[target] for name in names)
            files[split] = {name for names in found if len(names) == 1 for name in names}
        assert not files["train"] & files["test"]
        assert not files["train"] & files["validation"]
        assert not files["validation"] & files["test"]

    def test_classes_have_no_module_in_common_and_alternate(self) -> None:
        assert not stand_in.CLASSES[0] & stand_in.CLASSES[1]
        drawn = stand_in.draw({"train": 10, "validation": 3, "test": 4}, 100, seed=0)
        assert drawn["train"].targets == [0, 1] * 5
        assert drawn["validation"].targets == [0, 1, 0]

    def test_passages_are_distinct_and_of_the_lengths_asked_for(self, tmp_path: Path) -> None:
        data = load(TextOptions(max_length=1000, n_train=400, n_validation=50, n_test=100), tmp_path)
        lengths = np.diff(data.train.offsets)  # type: ignore[attr-defined]
        assert lengths.max() <= 1000
        assert lengths.min() >= 125, "half of the shortest that is asked for"
        assert lengths.max() - lengths.min() > 600
        assert len(set(texts_of(data.train))) == 400  # type: ignore[arg-type]

    def test_seeds_differ(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        first, second = (load(TextOptions(**SMALL, seed=seed), tmp_path) for seed in (0, 1))
        assert first.test.content_hash != second.test.content_hash

    def test_more_to_train_on_leaves_the_test_as_it_is(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        few, many = (load(TextOptions(**{**SMALL, "n_train": n}), tmp_path) for n in (10, 60))
        assert few.test.content_hash == many.test.content_hash

    def test_it_is_never_called_imdb(self, tmp_path: Path) -> None:
        source = load(TextOptions(**SMALL), tmp_path).source
        assert source.kind == "stand-in"
        assert source.description.startswith("not IMDb: 60 + 20 + 30 passages")

    def test_more_passages_than_there_are_lines_is_an_error(
        self, small_library: dict[str, bytes], tmp_path: Path
    ) -> None:
        with pytest.raises(TaskError, match=r"test split has 5000 passages to draw, .* only \d+ lines.*lower n_test"):
            load(TextOptions(**{**SMALL, "n_test": 5000}), tmp_path)
        assert not list(tmp_path.rglob("*.npy"))

    def test_a_library_that_lacks_a_class_is_an_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(stand_in, "standard_library", lambda: {"socket.py": b"x = 1\n" * 100})
        with pytest.raises(TaskError, match="only 0 lines"):
            load(TextOptions(**SMALL), tmp_path)

    def test_words_say_more_than_bytes_and_bytes_more_than_nothing(self, tmp_path: Path) -> None:
        scores = load(
            TextOptions(max_length=2000, n_train=2000, n_validation=2, n_test=600), tmp_path
        ).trivial_baselines
        assert scores["majority class"] == 50
        # Some files more or fewer, as versions of Python have them, move these by several points.
        assert 50 < scores["bytes, naive Bayes"] < 80
        assert scores["bytes, naive Bayes"] + 5 < scores["words, naive Bayes"] < 99


class TestBaselines:
    TRAIN = ((b"good film", 1), (b"good fun", 1), (b"bad film", 0), (b"dull, bad, bad", 0))

    def test_words_are_counted_once_a_text_by_the_textbook_formula(self) -> None:
        # Words of class 1: good 2, film 1, fun 1 (4 in all); of class 0: bad 2, dull 1, film 1; 5 are known.
        test = examples((b"good", 1), (b"bad fun bad", 0), (b"unseen film", 1), (b"GOOD dull", 1))
        guesses = word_bayes(examples(*self.TRAIN), test)
        odds = {"good": 3 / 1, "bad fun": (1 / 3) * (2 / 1), "film": 2 / 2, "good dull": 3 / 2}
        assert guesses.tolist() == [value > 1 for value in odds.values()]

    def test_bytes_are_counted_each_time_by_the_textbook_formula(self) -> None:
        rng = np.random.default_rng(0)
        labelled = [(bytes(rng.integers(97, 105 + 2 * k % 4, 20).tolist()), k % 2) for k in range(40)]
        train, test = examples(*labelled[:25]), examples(*labelled[25:])
        counts = np.ones((2, 257))
        for passage, label in labelled[:25]:
            for byte in passage:
                counts[label, byte + 1] += 1
        chances = np.log(counts / counts.sum(1, keepdims=True))
        prior = np.log(13 / 14)  # 13 of class 0, 12 of class 1, one added to each
        expected = [
            sum(chances[1, byte + 1] - chances[0, byte + 1] for byte in passage) + prior > 0
            for passage, _ in labelled[25:]
        ]
        assert byte_bayes(train, test).tolist() == expected
        assert 0 < sum(expected) < 15

    def test_chunks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        train = examples(*self.TRAIN)
        whole = trivial_baselines(train, train)
        monkeypatch.setattr("attention_arena_tasks.text.baselines.EXAMPLES_AT_ONCE", 3)
        assert trivial_baselines(train, train) == whole

    def test_the_majority_is_the_training_splits(self) -> None:
        train, test = examples(*self.TRAIN, (b"fine", 1)), examples((b"x", 0), (b"y", 0), (b"z", 0), (b"w", 1))
        assert trivial_baselines(train, test)["majority class"] == 25


class TestTask:
    def test_needs_are_those_of_the_data(self, tmp_path: Path) -> None:
        options = TextOptions(**SMALL)
        data = load(options, tmp_path)
        assert data.vocab_size == 257
        assert data.max_length == needs(options).max_length == 80
        assert data.objective.requires == needs(options).capabilities
        assert set(data.trivial_baselines) == {"majority class", "bytes, naive Bayes", "words, naive Bayes"}

    def test_prepared_data_are_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = load(TextOptions(**SMALL), tmp_path)
        monkeypatch.setattr(stand_in, "draw", lambda *_: pytest.fail("made twice"))
        second = load(TextOptions(**SMALL, fixed_length=True), tmp_path)
        assert first.data_hash == second.data_hash
        assert next(second.train.batches(4)).tokens.shape == (4, 80)

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"path": "aclImdb"}, "path is read with `source: official` only"),
            ({"validation": "test"}, "needs `source: official`"),
            ({"source": "imdb"}, "official"),
            ({"max_length": 2}, "max_length"),
            ({"n_tran": 5}, "n_tran"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, options: dict[str, Any], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            TextOptions.model_validate(options)

    def test_the_task_registers_itself_and_names_its_data(self) -> None:
        (task,) = text.register_tasks()
        assert task.name == "text"
        (data_set,) = task.datasets
        assert task.options(**data_set.options).source == "official"  # type: ignore[attr-defined]
        assert data_set.files[0].checksum == "md5:7c2ac02c03563afcf9b574c7e56c153a"
