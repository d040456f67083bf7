"""The retrieval task: options, stand-in, baselines, and what every source shares."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from attention_arena.byte_text import ids_of, text_of
from attention_arena.pairs import PairSplit
from attention_arena.python_sources import is_no_table, standard_library
from attention_arena.task import TaskError
from attention_arena_tasks import retrieval
from attention_arena_tasks.retrieval import stand_in
from attention_arena_tasks.retrieval.baselines import _histograms, _Words, best_threshold, cosines, trivial_baselines
from attention_arena_tasks.retrieval.data import RetrievalOptions, load, needs

SMALL: dict[str, Any] = {"max_length": 80, "n_train": 60, "n_validation": 20, "n_test": 30}


@pytest.fixture
def small_library(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Thirty made-up modules in two packages and on the top level, so that pairs are the same under every Python."""
    names = [f"{package}m{k}.py" for package in ("", "json/", "http/") for k in range(10)]
    library = {
        name: "".join(f"{name} line {place * place % 97} {'x' * (place % 23)}\n" for place in range(60)).encode()
        for name in names
    }
    monkeypatch.setattr(stand_in, "standard_library", lambda wanted: library)
    return library


@pytest.fixture(scope="module")
def drawn() -> dict[str, stand_in.Drawn]:
    return stand_in.draw({"train": 80, "validation": 20, "test": 40}, 1000, seed=0)


def pairs_of(*labelled: tuple[bytes, bytes, int]) -> PairSplit:
    tokens, offsets = ids_of([text for first, second, _ in labelled for text in (first, second)])
    places = np.arange(2 * len(labelled)).reshape(-1, 2)
    return PairSplit(tokens, offsets, places, np.array([label for *_, label in labelled]))


class TestStandIn:
    def test_the_pairs_of_given_files_never_change(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        assert (
            load(RetrievalOptions(**SMALL), tmp_path).data_hash
            == "8c821213201b601a51d7fd9fa5a074fac12df9eacfb20f3371be39d4de45b05d"
        )

    def test_the_data_are_the_same_in_another_process(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib\n"
            "from attention_arena_tasks.retrieval.data import RetrievalOptions, load\n"
            f"data = load(RetrievalOptions(**{SMALL}), pathlib.Path(sys.argv[1]))\n"
            "print(data.data_hash, dict(data.trivial_baselines))"
        )
        here = load(RetrievalOptions(**SMALL), tmp_path / "here")
        there = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "there")],
            env={**os.environ, "PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert there.stdout.strip() == f"{here.data_hash} {dict(here.trivial_baselines)}"

    def test_class_1_is_two_passages_of_one_file_and_class_0_of_two_of_a_kind(
        self, drawn: dict[str, stand_in.Drawn]
    ) -> None:
        library = standard_library(is_no_table)
        n_of_a_kind = 0
        for passages, pairs, targets in drawn.values():
            files = [{name for name, whole in library.items() if passage in whole} for passage in passages]
            for (first, second), target in zip(pairs, targets, strict=True):
                if len(files[first]) > 1 or len(files[second]) > 1:
                    continue  # the same passage stands in several files
                (one,), (other,) = files[first], files[second]
                assert (one == other) == bool(target)
                n_of_a_kind += stand_in.kind(one) == stand_in.kind(other)
        assert n_of_a_kind / sum(len(part.pairs) for part in drawn.values()) > 0.9

    def test_the_two_passages_of_a_pair_do_not_overlap(self, small_library: dict[str, bytes]) -> None:
        # Every line of these files is distinct within 23 lines, and passages are of 8 at most.
        drawn = stand_in.draw({"train": 60, "validation": 20, "test": 30}, 120, seed=0)
        for part in drawn.values():
            for (first, second), target in zip(part.pairs, part.targets, strict=True):
                assert first != second
                if target:
                    (whole,) = (text for text in small_library.values() if part.passages[first] in text)
                    a, b = whole.index(part.passages[first]), whole.index(part.passages[second])
                    assert a + len(part.passages[first]) <= b or b + len(part.passages[second]) <= a

    def test_no_file_is_in_two_splits(self, drawn: dict[str, stand_in.Drawn]) -> None:
        library = standard_library()
        files = {}
        for split, part in drawn.items():
            found = [[name for name, whole in library.items() if passage in whole] for passage in part.passages]
            files[split] = {names[0] for names in found if len(names) == 1}
        assert not files["train"] & files["test"]
        assert not files["train"] & files["validation"]
        assert not files["validation"] & files["test"]

    def test_pairs_are_distinct_whichever_way_round_and_classes_alternate(
        self, drawn: dict[str, stand_in.Drawn]
    ) -> None:
        for part in drawn.values():
            assert len({(min(pair), max(pair)) for pair in part.pairs}) == len(part.pairs)
            assert part.targets == [0, 1] * (len(part.pairs) // 2)

    def test_a_package_without_a_second_file_is_paired_with_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        library = {f"p{k}/only.py": f"file {k} line\n".encode() * 40 for k in range(20)}
        monkeypatch.setattr(stand_in, "standard_library", lambda wanted: library)
        drawn = stand_in.draw({"train": 8, "validation": 2, "test": 4}, 80, seed=0)
        assert [len(part.pairs) for part in drawn.values()] == [8, 2, 4]

    def test_seeds_differ(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        first, second = (load(RetrievalOptions(**SMALL, seed=seed), tmp_path) for seed in (0, 1))
        assert first.test.content_hash != second.test.content_hash

    def test_more_to_train_on_leaves_the_test_as_it_is(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        few, many = (load(RetrievalOptions(**{**SMALL, "n_train": n}), tmp_path) for n in (10, 60))
        assert few.test.content_hash == many.test.content_hash

    def test_it_is_never_called_the_anthology(self, tmp_path: Path) -> None:
        source = load(RetrievalOptions(**SMALL), tmp_path).source
        assert source.kind == "stand-in"
        assert source.description.startswith("not the ACL Anthology Network: 60 + 20 + 30 pairs")

    def test_more_pairs_than_there_are_is_an_error(self, small_library: dict[str, bytes], tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"only \d+ distinct pairs .* validation split .* lower n_validation"):
            load(RetrievalOptions(max_length=400, n_train=10, n_validation=3000, n_test=10), tmp_path)
        assert not list(tmp_path.rglob("*.npy"))

    def test_bytes_say_a_little_and_words_more(self, tmp_path: Path) -> None:
        options = RetrievalOptions(max_length=2000, n_train=2000, n_validation=2, n_test=600)
        scores = load(options, tmp_path).trivial_baselines
        assert scores["majority class"] == 50
        # Some files more or fewer, as versions of Python have them, move these by several points.
        assert 50 < scores["bytes, cosine of counts"] < 75
        assert scores["bytes, cosine of counts"] + 5 < scores["words, cosine of tf-idf"] < 98


class TestBaselines:
    def test_the_threshold_is_the_best_of_all(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(50):
            scores, targets = rng.integers(0, 6, 12) / 4, rng.integers(0, 2, 12)
            accuracy = ((scores >= best_threshold(scores, targets)) == targets).mean()
            candidates = [*np.unique(scores), np.inf]
            assert accuracy == max(((scores >= candidate) == targets).mean() for candidate in candidates)

    def test_cosines_are_the_textbook_ones(self) -> None:
        split = pairs_of((b"aab", b"abb", 1), (b"a", b"b", 0), (b"b", b"", 0))
        np.testing.assert_allclose(cosines(_histograms(split), split.pairs), [4 / 5, 0, 0])
        split = pairs_of((b"one two", b"two Three two", 1), (b"one", b"four", 0))
        # Of 4 documents, "one" and "two" are in 2, "three" and "four" in 1.
        common, rare = np.log(5 / 3), np.log(5 / 2)
        lengths = np.hypot(common, common), np.hypot(2 * common, rare)
        expected = [2 * common**2 / lengths[0] / lengths[1], 0]
        np.testing.assert_allclose(cosines(_Words(split).of(split), split.pairs), expected)

    def test_rules_are_fitted_on_train_and_scored_on_test(self) -> None:
        train = pairs_of((b"red red", b"red red", 1), (b"sun", b"sun", 1), (b"sky", b"abc", 0))
        test = pairs_of((b"new", b"new", 1), (b"new", b"xyz", 0), (b"one", b"one", 0), (b"a", b"b", 0))
        scores = trivial_baselines(train, test)
        assert scores == {"majority class": 25, "bytes, cosine of counts": 75, "words, cosine of tf-idf": 75}

    def test_chunks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        train = pairs_of(*((b"word %d" % (k % 3), b"word %d" % (k % 5), k % 2) for k in range(20)))
        whole = trivial_baselines(train, train)
        monkeypatch.setattr("attention_arena_tasks.retrieval.baselines.PAIRS_AT_ONCE", 3)
        assert trivial_baselines(train, train) == whole


class TestTask:
    def test_needs_are_those_of_the_data(self, tmp_path: Path) -> None:
        options = RetrievalOptions(**SMALL)
        data = load(options, tmp_path)
        assert data.vocab_size == 257
        assert data.max_length == needs(options).max_length == 80
        assert data.objective.requires == needs(options).capabilities
        assert next(data.train.batches(3)).tokens.shape[:2] == (3, 2)

    def test_prepared_data_are_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = load(RetrievalOptions(**SMALL), tmp_path)
        monkeypatch.setattr(stand_in, "draw", lambda *_: pytest.fail("made twice"))
        second = load(RetrievalOptions(**SMALL, fixed_length=True), tmp_path)
        assert first.data_hash == second.data_hash
        assert next(second.train.batches(4)).tokens.shape == (4, 2, 80)

    def test_only_passages_that_are_in_a_pair_are_kept(self, tmp_path: Path) -> None:
        split = load(RetrievalOptions(**SMALL), tmp_path).train
        assert isinstance(split, PairSplit)
        assert set(np.unique(split.pairs)) == set(range(len(split.offsets) - 1))
        assert text_of(split.tokens[: split.offsets[1]])

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"path": "tsv_data"}, "path is read with `source: official` only"),
            ({"source": "aan"}, "official"),
            ({"max_length": 2}, "max_length"),
            ({"n_tran": 5}, "n_tran"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, options: dict[str, Any], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            RetrievalOptions.model_validate(options)

    def test_the_task_registers_itself_and_names_its_data(self) -> None:
        (task,) = retrieval.register_tasks()
        assert task.name == "retrieval"
        (data_set,) = task.datasets
        assert task.options(**data_set.options).source == "official"  # type: ignore[attr-defined]
