import hashlib
import io
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from attention_arena.datasets import place_of
from attention_arena.task import Split, TaskData, TaskError
from attention_arena_tasks.language_model import LANGUAGE_MODEL, MASKED_LANGUAGE_MODEL, releases
from attention_arena_tasks.language_model.data import prepare_text
from attention_arena_tasks.language_model.next_token import LanguageModelOptions, load
from attention_arena_tasks.language_model.official import DATA_SETS, examine
from attention_arena_tasks.language_model.releases import RELEASES

LINES = " the cat and the <unk> \n \n = a dog = \n"
WIKITEXT = {"wiki.train.tokens": LINES * 60, "wiki.valid.tokens": LINES * 3, "wiki.test.tokens": LINES * 4}
COUNTS = {"train": 720, "validation": 36, "test": 48}
SENTENCES = "He said so .\nShe did n't .\n"
BILLION = {
    "training/news.en-00001-of-00100": "one shard .\n" * 20,
    "training/news.en-00002-of-00100": "another shard .\n" * 30,
    "heldout/news.en.heldout-00000-of-00050": SENTENCES,
    "heldout/news.en.heldout-00001-of-00050": SENTENCES * 2,
    "heldout/news.en.heldout-00002-of-00050": "never read\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def write_zip(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"top/{name}", text)
    return path


def write_tar(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"./top/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def read(corpus: str, path: Path | None, cache: Path, **settings: Any) -> TaskData:
    return load(LanguageModelOptions(corpus=corpus, path=path, length=8, **settings), cache)


def words(split: Split, corpus: str, path: Path, cache: Path) -> str:
    vocabulary = prepare_text(LanguageModelOptions(corpus=corpus, path=path), cache).vocabulary
    return " ".join(vocabulary.tokens[token] for token in split.tokens.tolist())  # type: ignore[attr-defined]


@pytest.fixture
def small_wikitext(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files above be the whole release."""
    release = replace(RELEASES["wikitext-2"], counts=COUNTS, checksums={})
    monkeypatch.setitem(releases.RELEASES, "wikitext-2", release)  # type: ignore[arg-type]


class TestLayouts:
    def test_folders_zips_and_tars_hold_the_same_data(self, tmp_path: Path) -> None:
        places = [
            write(tmp_path / "flat", WIKITEXT),
            write(tmp_path / "nested" / "wikitext-2", WIKITEXT).parent,
            write_zip(tmp_path / "wikitext-2-v1.zip", WIKITEXT),
            write_tar(tmp_path / "wikitext.tgz", dict(reversed(WIKITEXT.items()))),
            write_zip(tmp_path / "fetched" / "wikitext-2-v1.zip", WIKITEXT).parent,
        ]
        (tmp_path / "fetched" / "note.txt").write_text("beside the archive")
        hashes = {read("wikitext-2", place, tmp_path / "cache").data_hash for place in places}
        assert len(hashes) == 1

    def test_without_a_path_it_is_read_where_data_are_kept(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"arena data get wikitext-2"):
            read("wikitext-2", None, tmp_path)
        write_zip(place_of("wikitext-2", tmp_path) / "wikitext-2-v1.zip", WIKITEXT)
        assert read("wikitext-2", None, tmp_path).train.n_examples == COUNTS["train"] - 1

    def test_lines_end_with_eos_and_ids_are_ranks(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data", WIKITEXT)
        data = read("wikitext-2", path, tmp_path)
        assert (
            words(data.test, "wikitext-2", path, tmp_path)
            == (LINES * 4).replace("\n", "<eos>").replace("  ", " ").strip()
        )
        assert data.vocab_size == len(set(LINES.split())) + 1

    def test_large_text_is_cut_by_position(self, tmp_path: Path) -> None:
        text = "".join(chr(97 + i * i % 23) for i in range(1010))
        for name, unit in (("enwik8", "byte"), ("text8", "character")):
            for path in (write(tmp_path / name, {name: text}), tmp_path / name / name):
                data = read(name, path, tmp_path)
                sizes = [split.n_examples + 1 for split in (data.train, data.validation, data.test)]
                assert sizes == [909, 50, 51]
                assert data.objective.metrics[0].name == f"bits_per_{unit}"
                assert data.vocab_size == (256 if unit == "byte" else len(set(text)))

    def test_a_hundred_million_bytes_are_cut_at_90_and_95(self) -> None:
        release = RELEASES["enwik8"]
        stops = [10**8 * percent // 100 for percent in (90, 95, 100)]
        assert [stops[0], stops[1] - stops[0], stops[2] - stops[1]] == list(release.counts.values())

    def test_characters_of_the_treebank_stand_between_blanks(self, tmp_path: Path) -> None:
        files = {f"ptb.char.{split}.txt": "n o _ w a y \n" * 20 for split in ("train", "valid", "test")}
        path = write(tmp_path / "data", {**files, "ptb.train.txt": " another corpus \n"})
        data = read("ptb-char", path, tmp_path)
        assert words(data.test, "ptb-char", path, tmp_path).startswith("n o _ w a y <eos> n o")
        assert [metric.name for metric in data.objective.metrics][::2] == ["bits_per_character", "bits_per_byte"]
        sums = {"nats": 1.0, "tokens": 7.0, "bytes": 7.0}
        values = data.objective.summarise(sums)
        assert values["bits_per_byte"] == values["bits_per_character"]


class TestOneBillionWords:
    def test_shards_follow_each_other_by_name(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "folder", BILLION)
        shuffled = write_tar(tmp_path / "billion.tar.gz", dict(sorted(BILLION.items(), reverse=True)))
        data = read("lm1b", folder, tmp_path / "cache")
        assert data.data_hash == read("lm1b", shuffled, tmp_path / "cache").data_hash
        text = words(data.train, "lm1b", folder, tmp_path / "cache")
        assert text == "one shard . <eos> " * 20 + " ".join(["another shard . <eos>"] * 30)

    def test_the_first_held_out_shard_is_the_test_and_the_second_validates(self, tmp_path: Path) -> None:
        data = read("lm1b", write(tmp_path / "folder", BILLION), tmp_path)
        assert [data.test.n_examples + 1, data.validation.n_examples + 1] == [10, 20]

    def test_words_that_occur_less_than_three_times_are_unknown(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "folder", {**BILLION, "training/news.en-00003-of-00100": "rare rare common common common\n"}
        )
        data = read("lm1b", path, tmp_path)
        text = words(data.train, "lm1b", path, tmp_path)
        assert text.endswith("<unk> <unk> common common common <eos>")

    def test_token_files_are_read_too(self, tmp_path: Path) -> None:
        files = {f"1b_benchmark.{split}.tokens": SENTENCES * 9 for split in ("train", "dev", "test")}
        assert read("lm1b", write(tmp_path / "data", files), tmp_path).validation.n_examples + 1 == 90

    def test_bytes_of_tokens_are_those_of_the_file(self, tmp_path: Path) -> None:
        files = {f"1b_benchmark.{split}.tokens": SENTENCES * 9 for split in ("train", "dev", "test")}
        path = write(tmp_path / "data", files)
        vocabulary = prepare_text(LanguageModelOptions(corpus="lm1b", path=path), tmp_path).vocabulary
        assert vocabulary.n_bytes @ vocabulary.counts == len(SENTENCES * 9)


@pytest.mark.usefixtures("small_wikitext")
class TestSource:
    def test_the_whole_release_is_official(self, tmp_path: Path) -> None:
        source = read("wikitext-2", write(tmp_path / "data", WIKITEXT), tmp_path).source
        assert (source.kind, source.description) == ("official", "wikitext-2, 720 + 36 + 48 tokens")

    def test_other_counts_are_not(self, tmp_path: Path) -> None:
        files = {**WIKITEXT, "wiki.test.tokens": LINES * 5}
        source = read("wikitext-2", write(tmp_path / "data", files), tmp_path).source
        assert source.kind == "user"
        assert "720 + 36 + 60 tokens, not the release's files (720 + 36 + 48)" in source.description

    def test_other_content_is_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        digest = hashlib.md5((LINES * 4).encode(), usedforsecurity=False).hexdigest()
        release = replace(RELEASES["wikitext-2"], checksums={"test": f"md5:{digest}"})
        monkeypatch.setitem(releases.RELEASES, "wikitext-2", release)  # type: ignore[arg-type]
        path = write(tmp_path / "data", WIKITEXT)
        assert read("wikitext-2", path, tmp_path).source.kind == "official"
        write(path, {"wiki.test.tokens": LINES.replace("cat", "cow") * 4})
        assert read("wikitext-2", path, tmp_path).source.kind == "user"

    def test_a_part_of_it_is_not(self, tmp_path: Path) -> None:
        source = read("wikitext-2", write(tmp_path / "data", WIKITEXT), tmp_path, train_bytes=1000).source
        assert source.kind == "user"
        assert source.description.endswith("first 1,000 bytes of train")

    def test_its_bytes_are_official_too(self, tmp_path: Path) -> None:
        data = read("wikitext-2", write(tmp_path / "data", WIKITEXT), tmp_path, unit="byte")
        assert data.source.kind == "official"
        assert data.objective.metrics[0].name == "bits_per_byte"
        assert data.train.n_examples + 1 == len(LINES * 60)


class TestTrouble:
    def test_a_missing_split_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data", {name: text for name, text in WIKITEXT.items() if "train" not in name})
        with pytest.raises(
            TaskError, match=r"nothing for train; expected wiki.train.tokens.*arena data get wikitext-2"
        ):
            read("wikitext-2", path, tmp_path)
        assert not list((tmp_path / "language_model").glob("wikitext*"))

    def test_two_releases_in_one_place_are_an_error(self, tmp_path: Path) -> None:
        write(tmp_path / "data" / "wikitext-2", WIKITEXT)
        write(tmp_path / "data" / "wikitext-103", WIKITEXT)
        with pytest.raises(
            TaskError, match=r"both wikitext-103/wiki.test.tokens and wikitext-2/wiki.test.tokens are test"
        ):
            read("wikitext-2", tmp_path / "data", tmp_path)

    def test_an_empty_folder_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        with pytest.raises(TaskError, match=r"has no file of ptb: expected ptb.train.txt, ptb.valid.txt, ptb.test.txt"):
            read("ptb", tmp_path / "data", tmp_path)

    def test_a_file_for_a_folder_is_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path, {"wiki.train.tokens": LINES}) / "wiki.train.tokens"
        with pytest.raises(TaskError, match=r"is one file, but wikitext-2 is a folder or archive"):
            read("wikitext-2", path, tmp_path)

    def test_a_damaged_archive_is_an_error(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "wikitext-2-v1.zip", WIKITEXT)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(TaskError, match="damaged or cut short"):
            read("wikitext-2", path, tmp_path)

    def test_text_that_is_not_utf_8_is_named_with_its_place(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data", WIKITEXT)
        (path / "wiki.valid.tokens").write_bytes(LINES.encode() + b"\xc3(")
        with pytest.raises(TaskError, match=rf"wiki.valid.tokens: not UTF-8 at byte {len(LINES)} "):
            read("wikitext-2", path, tmp_path)

    def test_a_changed_file_is_read_anew(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data", WIKITEXT)
        before = read("wikitext-2", path, tmp_path).data_hash
        write(path, {"wiki.train.tokens": LINES * 61})
        assert read("wikitext-2", path, tmp_path).data_hash != before

    def test_a_path_needs_a_published_corpus(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="path is for published corpora"):
            LanguageModelOptions(path=tmp_path)

    def test_a_unit_that_a_corpus_does_not_have_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="enwik8 is read by byte, got unit 'word'"):
            LanguageModelOptions(corpus="enwik8", unit="word")


class TestDataSets:
    def test_both_tasks_declare_every_release(self) -> None:
        assert [data_set.name for data_set in DATA_SETS] == list(RELEASES)
        assert LANGUAGE_MODEL.datasets == MASKED_LANGUAGE_MODEL.datasets == DATA_SETS

    def test_their_options_read_them(self) -> None:
        for data_set in DATA_SETS:
            options = LanguageModelOptions.model_validate(data_set.options)
            assert options.release is RELEASES[data_set.name]
            assert all(file.urls for file in data_set.files)

    def test_inspecting_counts_and_says_what_differs(self, tmp_path: Path) -> None:
        found = examine(RELEASES["wikitext-2"], write(tmp_path / "data", WIKITEXT))
        assert dict(found.counts) == COUNTS
        assert not found.complete
        assert found.usable
        assert any("train has 720 tokens, the release 2,088,628" in problem for problem in found.problems)
        assert any("wiki.test.tokens is not the published file: its sha256" in problem for problem in found.problems)

    def test_inspecting_raises_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "bad.zip").write_bytes(b"PK\3\4 and nothing else")
        for data_set in DATA_SETS:
            for path in (tmp_path / "empty", tmp_path / "bad.zip", tmp_path / "absent"):
                found = data_set.inspect(path)
                assert not found.usable
                assert found.problems
        shutil.rmtree(tmp_path / "empty")

    @pytest.mark.usefixtures("small_wikitext")
    def test_a_whole_release_is_complete(self, tmp_path: Path) -> None:
        found = examine(RELEASES["wikitext-2"], write_zip(tmp_path / "a.zip", WIKITEXT))
        assert found.complete
        assert found.problems == ()
