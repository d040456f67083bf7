import hashlib
import os
import sysconfig
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from attention_arena.python_sources import LEFT_OUT, is_no_table, standard_library
from attention_arena.splits import StreamSplit
from attention_arena.task import Split, TaskError
from attention_arena_tasks import language_model
from attention_arena_tasks.language_model import streams
from attention_arena_tasks.language_model.corpus import split_of
from attention_arena_tasks.language_model.next_token import LanguageModelOptions, load, needs
from attention_arena_tasks.language_model.texts import SHARES

SMALL = {"length": 16, "train_bytes": 5000, "validation_bytes": 500, "test_bytes": 600}


def content(split: Split) -> bytes:
    assert isinstance(split, StreamSplit)
    return split.tokens.tobytes()


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write_files(root: Path, n: int, order: int = 1) -> dict[str, bytes]:
    texts = {f"{'ab'[i % 2]}/{i}.txt": f"text number {i}, ".encode() * (i % 5 + 1) for i in range(n)}
    for name in list(texts)[::order]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(texts[name])
    return texts


class TestStandardLibrary:
    def test_it_is_pythons_own_sources(self) -> None:
        names = set(standard_library())
        assert {"os.py", "json/decoder.py"} <= names
        assert len(names) > 300

    def test_it_is_a_stand_in_that_names_its_version(self, tmp_path: Path) -> None:
        data = load(LanguageModelOptions(**SMALL), tmp_path)
        assert data.source.kind == "stand-in"
        assert sysconfig.get_python_version() in data.source.description
        assert [split.n_examples for split in (data.train, data.validation, data.test)] == [4999, 499, 599]

    def test_it_is_the_whole_library_file_by_file(self, tmp_path: Path) -> None:
        data = load(LanguageModelOptions(), tmp_path)
        sources = standard_library(is_no_table)
        for name in SHARES:
            text = content(getattr(data, name))
            wanted = sorted((path for path in sources if split_of(path) == name), key=digest)
            assert text == b"\0".join(sources[path] for path in wanted)
        assert not any(LEFT_OUT.intersection(Path(path).parts) for path in sources)

    def test_without_sources_there_is_a_way_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
        with pytest.raises(TaskError, match=r"no \.py sources .*give `corpus` the path"):
            load(LanguageModelOptions(**SMALL), tmp_path)


class TestFolder:
    def test_every_file_goes_whole_to_one_split(self, tmp_path: Path) -> None:
        texts = write_files(tmp_path / "corpus", 200)
        data = load(LanguageModelOptions(corpus=str(tmp_path / "corpus")), tmp_path / "cache")
        parts = {name: content(getattr(data, name)).split(b"\0") for name in SHARES}
        assert sorted(part for split in parts.values() for part in split) == sorted(texts.values())
        for name, split in parts.items():
            assert sorted(split) == sorted(text for path, text in texts.items() if split_of(path) == name)

    def test_files_follow_each_other_by_the_hash_of_their_path(self, tmp_path: Path) -> None:
        texts = {f"{i}.txt": f"{i} ".encode() * 3 for i in range(100)}
        for name, text in texts.items():
            (tmp_path / "corpus").mkdir(exist_ok=True)
            (tmp_path / "corpus" / name).write_bytes(text)
        data = load(LanguageModelOptions(corpus=str(tmp_path / "corpus")), tmp_path / "cache")
        expected = [texts[name] for name in sorted(texts, key=digest) if split_of(name) == "train"]
        assert content(data.train) == b"\0".join(expected)

    def test_the_order_in_which_files_were_written_changes_nothing(self, tmp_path: Path) -> None:
        hashes = []
        for order in (1, -1):
            root = tmp_path / f"corpus{order}"
            write_files(root, 100, order)
            hashes.append(load(LanguageModelOptions(corpus=str(root)), tmp_path / "cache").data_hash)
        assert hashes[0] == hashes[1]

    def test_a_cap_takes_the_first_bytes(self, tmp_path: Path) -> None:
        root = str(tmp_path / "corpus")
        write_files(tmp_path / "corpus", 200)
        whole = load(LanguageModelOptions(corpus=root), tmp_path / "cache")
        capped = load(LanguageModelOptions(corpus=root, train_bytes=150, test_bytes=10**9), tmp_path / "cache")
        assert content(capped.train) == content(whole.train)[:150]
        assert content(capped.test) == content(whole.test)
        assert content(capped.validation) == content(whole.validation)

    def test_patterns_choose_files_and_hidden_ones_are_left_out(self, tmp_path: Path) -> None:
        root = tmp_path / "corpus"
        write_files(root, 200)
        (root / ".git").mkdir()
        (root / ".git" / "secret.txt").write_text("SECRET")
        (root / "a" / "picture.png").write_text("PICTURE")
        data = load(LanguageModelOptions(corpus=str(root), patterns=("**/*.txt", "**/1*.txt")), tmp_path / "cache")
        everything = b"".join(content(getattr(data, name)) for name in SHARES)
        assert b"SECRET" not in everything
        assert b"PICTURE" not in everything
        assert everything.count(b"text number 10, ") == 1, "a file that two patterns match is read once"

    def test_too_few_files_are_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        write_files(tmp_path / "corpus", 2)
        with pytest.raises(TaskError, match=r"split has 0 bytes.*or one longer file"):
            load(LanguageModelOptions(corpus=str(tmp_path / "corpus")), tmp_path / "cache")

    def test_no_matching_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"no file in .* matches \*\*/\*"):
            load(LanguageModelOptions(corpus=str(tmp_path)), tmp_path / "cache")

    def test_shares_are_90_5_5(self) -> None:
        counts = dict.fromkeys(SHARES, 0)
        for i in range(10_000):
            counts[split_of(f"folder/file{i}.py")] += 1
        assert counts["train"] == pytest.approx(9000, abs=100)
        assert counts["validation"] == pytest.approx(500, abs=70)

    def test_a_path_keeps_its_split_for_ever(self) -> None:
        names = ("__future__.py", "_compat_pickle.py", "contextlib.py")
        assert [split_of(name) for name in names] == ["train", "validation", "test"]


class TestFile:
    def test_a_file_is_cut_by_position(self, tmp_path: Path) -> None:
        text = bytes(i % 251 for i in range(1003))
        (tmp_path / "text").write_bytes(text)
        data = load(LanguageModelOptions(corpus=str(tmp_path / "text")), tmp_path / "cache")
        parts = [content(getattr(data, name)) for name in SHARES]
        assert [len(part) for part in parts] == [902, 50, 51]
        assert b"".join(parts) == text
        assert data.source.kind == "user"
        assert str(tmp_path) not in data.source.description

    def test_a_changed_file_is_read_anew(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_bytes(b"a" * 1000)
        options = LanguageModelOptions(corpus=str(tmp_path / "text"))
        before = load(options, tmp_path / "cache").data_hash
        (tmp_path / "text").write_bytes(b"b" * 1000)
        os.utime(tmp_path / "text", ns=(1, 1))
        assert load(options, tmp_path / "cache").data_hash != before

    @pytest.mark.parametrize("text", [b"", b"short"])
    def test_a_file_that_is_too_short_is_an_error(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "text").write_bytes(text)
        with pytest.raises(TaskError, match="needs 2 or more"):
            load(LanguageModelOptions(corpus=str(tmp_path / "text")), tmp_path / "cache")

    def test_a_missing_path_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(
            TaskError, match=r"no corpus at .*expected a text file or a folder, or the name of a corpus"
        ):
            load(LanguageModelOptions(corpus=str(tmp_path / "text")), tmp_path / "cache")

    def test_an_unreadable_file_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "text").write_bytes(b"a" * 1000)

        def refuse(*arguments: object, **settings: object) -> None:
            raise PermissionError(13, "Permission denied")

        options = LanguageModelOptions(corpus=str(tmp_path / "text"))
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(TaskError, match=r"cannot read .*text: Permission denied"):
            load(options, tmp_path / "cache")


class TestTask:
    def test_every_byte_but_the_first_is_scored(self, tmp_path: Path) -> None:
        data = load(LanguageModelOptions(**SMALL), tmp_path)
        predicted = sum(data.objective.weight(batch) for batch in data.test.batches(7))
        assert predicted == data.test.n_examples == 599

    def test_the_streams_fit_the_model(self, tmp_path: Path) -> None:
        options = LanguageModelOptions(**SMALL, tied=True)
        data = load(options, tmp_path)
        assert data.vocab_size == 256
        assert data.max_length == needs(options).max_length == 16
        assert data.objective.requires == needs(options).capabilities
        batch = next(data.train.batches(4, 0))
        assert batch.tokens.shape == (4, 16)
        assert batch.tokens.dtype == torch.int64

    def test_prepared_data_are_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = load(LanguageModelOptions(**SMALL), tmp_path)
        monkeypatch.setattr(streams, "trivial_baselines", lambda *_: pytest.fail("made twice"))
        assert load(LanguageModelOptions(**{**SMALL, "length": 8}), tmp_path).data_hash == first.data_hash

    def test_both_tasks_register_themselves(self) -> None:
        tasks = language_model.register_tasks()
        assert [task.name for task in tasks] == ["language_model", "masked_language_model"]
        for task in tasks:
            task.options(**task.small_options)

    def test_an_option_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="lenght"):
            LanguageModelOptions.model_validate({"lenght": 5})
