from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from attention_arena.objectives import Adaptive, LanguageModeling
from attention_arena.splits import StreamSplit
from attention_arena.task import Split, TaskData, TaskError
from attention_arena.variant import ModelShape
from attention_arena_tasks.language_model import data as data_module
from attention_arena_tasks.language_model import tokenisers
from attention_arena_tasks.language_model.data import prepare_text
from attention_arena_tasks.language_model.next_token import LanguageModelOptions, load
from attention_arena_tasks.language_model.texts import Text
from attention_arena_tasks.language_model.tokenisers import Bytes, Characters, Tokeniser, Words
from attention_arena_tasks.language_model.vocabulary import Vocabulary

POEM = "the cat and the dog\nthe café ☕ and the 🐈 \n\n" * 40


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, **settings: Any) -> tuple[TaskData, Vocabulary]:
    options = LanguageModelOptions(corpus=str(path), length=8, **settings)
    cache = path.parent / "cache"
    return load(options, cache), prepare_text(options, cache).vocabulary


def tokens(split: Split, vocabulary: Vocabulary) -> list[str]:
    assert isinstance(split, StreamSplit)
    return [vocabulary.tokens[token] for token in split.tokens.tolist()]


def finished(tokeniser: Tokeniser, train: str, test: str = "") -> Tokeniser:
    for split, content in (("train", train), ("test", test)):
        tokeniser.survey(Text(split, "", split, content.encode()))
    tokeniser.finish()
    return tokeniser


class TestWords:
    def test_a_line_is_its_words_and_its_end(self, tmp_path: Path) -> None:
        data, vocabulary = read(write(tmp_path / "text", POEM), unit="word")
        everything = [
            token for split in ("train", "validation", "test") for token in tokens(getattr(data, split), vocabulary)
        ]
        assert everything == POEM.replace("\n", " <eos> ").split()

    def test_ids_are_ranks_by_frequency_then_by_bytes(self) -> None:
        words = finished(Words(), "b b ab ab ☕ é z z z\n\n\n\n")
        assert words.vocabulary.tokens == ("<eos>", "z", "ab", "b", "é", "☕")
        assert words.vocabulary.counts.tolist() == [4, 3, 2, 2, 1, 1]

    def test_words_that_training_text_lacks_are_unknown(self) -> None:
        words = finished(Words(), "a a b\n", "a c\n")
        assert words.vocabulary.tokens == ("a", "<eos>", "b", "<unk>")
        assert words.encode(Text("test", "", "", b"c a\n")).tolist() == [3, 0, 1]
        assert "<unk>" not in finished(Words(), "a a b\n", "b a\n").vocabulary.tokens

    def test_rare_words_are_unknown_and_counted_as_such(self) -> None:
        words = finished(Words(min_count=2), "a a b c <unk>\n d d\n")
        assert words.vocabulary.tokens == ("<unk>", "<eos>", "a", "d")
        assert words.vocabulary.counts.tolist() == [3, 2, 2, 2]

    def test_a_last_line_without_an_end_has_one_all_the_same(self) -> None:
        words = finished(Words(), "a b\n")
        for content, n_ends in ((b"a\nb", 2), (b"a\nb\n", 2), (b"a\nb\n ", 2), (b"\n", 1), (b"", 0)):
            ids = words.encode(Text("train", "", "", content)).tolist()
            assert ids.count(words.vocabulary.tokens.index("<eos>")) == n_ends

    @pytest.mark.parametrize(("blank", "line", "text"), [(1, 2, " a bb \n ccc \n \n"), (1, 0, "a bb\nccc\n")])
    def test_token_bytes_add_up_to_the_text(self, blank: int, line: int, text: str) -> None:
        words = finished(Words(1, blank, line), text)
        ids = words.encode(Text("train", "", "", text.encode()))
        assert words.vocabulary.n_bytes[ids].sum() == len(text)

    def test_perplexity_is_compared_and_bits_per_byte_stand_beside(self, tmp_path: Path) -> None:
        data, _ = read(write(tmp_path / "text", POEM), unit="word")
        assert [metric.name for metric in data.objective.metrics] == [
            "perplexity",
            "bits_per_word",
            "bits_per_byte",
            "loss",
        ]
        assert list(data.trivial_baselines) == ["word frequencies", "word pairs", "word triples"]

    def test_bytes_and_tokens_are_summed_exactly_at_any_batch_size(self, tmp_path: Path) -> None:
        data, vocabulary = read(write(tmp_path / "text", POEM * 9), unit="word")
        objective = data.objective
        torch.manual_seed(0)
        shape = ModelShape(d_model=8, n_heads=2, max_length=8, causal=True)
        embedding = objective.build_embedding(shape, data.vocab_size)
        head = objective.build_head(shape, embedding)
        expected = int(vocabulary.n_bytes[data.test.tokens[1:]].sum())  # type: ignore[attr-defined]
        nats = []
        for batch_size in (1, 3, 8, 1000):
            sums: Counter[str] = Counter()
            for batch in data.test.batches(batch_size):
                score = objective.score(head, embedding(batch.tokens), batch)
                sums.update({name: value.item() for name, value in score.sums.items()})
            assert (sums["bytes"], sums["tokens"]) == (expected, data.test.n_examples)
            nats.append(sums["nats"])
        # Each token is predicted from the one before it alone, so rows make no difference.
        assert nats == pytest.approx([nats[0]] * 4, rel=1e-6)

    def test_files_of_a_folder_end_their_lines(self, tmp_path: Path) -> None:
        for number in range(80):
            write(tmp_path / "corpus" / f"{number}.txt", f"file number{number}")
        data, vocabulary = read(tmp_path / "corpus", unit="word")
        found = " ".join(tokens(data.train, vocabulary))
        assert found.count("file") == found.count("<eos>")
        assert "\0" not in found


class TestCharacters:
    def test_they_are_unicode_characters(self, tmp_path: Path) -> None:
        data, vocabulary = read(write(tmp_path / "text", POEM), unit="character")
        everything = "".join(
            "".join(tokens(getattr(data, split), vocabulary)) for split in ("train", "validation", "test")
        )
        assert everything == POEM
        assert len(vocabulary) == data.vocab_size == len(set(POEM))
        sizes = dict(zip(vocabulary.tokens, vocabulary.n_bytes.tolist(), strict=True))
        assert (sizes["a"], sizes["é"], sizes["☕"], sizes["🐈"]) == (1, 2, 3, 4)
        assert data.objective.metrics[0].name == "bits_per_character"

    def test_characters_that_training_text_lacks_are_one(self) -> None:
        characters = finished(Characters(), "aab", "abc")
        assert characters.vocabulary.tokens == ("a", "b", "\ufffd")
        assert characters.encode(Text("test", "", "", "cbé".encode())).tolist() == [2, 1, 2]

    def test_a_cut_never_splits_a_character(self) -> None:
        text = "aé☕🐈".encode()
        whole = [Characters().whole(text[:end]) for end in range(len(text) + 1)]
        assert whole == [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]


class TestCaps:
    @pytest.mark.parametrize("unit", ["byte", "character", "word"])
    def test_a_cap_takes_the_first_whole_tokens(self, tmp_path: Path, unit: str) -> None:
        path = write(tmp_path / "text", POEM)
        (whole, vocabulary), (capped, known) = read(path, unit=unit), read(path, unit=unit, train_bytes=101)
        found, everything = tokens(capped.train, known), tokens(whole.train, vocabulary)
        assert found == everything[: len(found)]
        n_bytes = int(vocabulary.n_bytes[capped.train.tokens].sum())  # type: ignore[attr-defined]
        assert 70 < n_bytes <= 110

    def test_a_cap_leaves_the_vocabulary_as_it_is(self, tmp_path: Path) -> None:
        path = write(tmp_path / "text", POEM + "a rare word\n" + POEM * 2)
        _, whole = read(path, unit="word")
        _, capped = read(path, unit="word", train_bytes=50)
        assert whole.tokens == capped.tokens
        assert whole.content_hash == capped.content_hash

    def test_a_separator_counts(self, tmp_path: Path) -> None:
        for number in range(100):
            write(tmp_path / "corpus" / f"{number}.txt", "é" * 5)
        for cap, n_characters in ((10, 5), (11, 6), (12, 6), (13, 7), (21, 11), (22, 12)):
            data, vocabulary = read(tmp_path / "corpus", unit="character", train_bytes=cap)
            assert "".join(tokens(data.train, vocabulary)) == "ééééé\0ééééé\0"[:n_characters]


class TestReading:
    @pytest.mark.parametrize("tokeniser", [Characters(), Words()])
    def test_reading_in_pieces_changes_nothing(self, tokeniser: Tokeniser, monkeypatch: pytest.MonkeyPatch) -> None:
        text = Text("train", "", "", POEM.encode())
        finished(tokeniser, POEM)
        counts, ids = tokeniser.count(text), tokeniser.encode(text)
        for piece in (1, 7, 50):
            monkeypatch.setattr(tokenisers, "PIECE", piece)
            assert tokeniser.count(text) == counts
            assert np.array_equal(tokeniser.encode(text), ids)

    @pytest.mark.parametrize("unit", ["character", "word"])
    def test_text_that_is_not_utf_8_is_an_error_with_its_place(self, tmp_path: Path, unit: str) -> None:
        path = write(tmp_path / "text", POEM.encode() + b"ab\xff" + POEM.encode())
        place = f"{len(POEM.encode()) + 2:,}"
        with pytest.raises(TaskError, match=rf"text: not UTF-8 at byte {place} \(invalid start byte\).*unit: byte"):
            read(path, unit=unit)
        assert list((tmp_path / "cache" / "language_model").glob("file-*")) == []

    def test_the_place_is_that_in_its_file(self, tmp_path: Path) -> None:
        for number in range(60):
            write(tmp_path / "corpus" / f"{number}.txt", b"abc\xff" if number == 33 else b"abc")
        with pytest.raises(TaskError, match=r"33.txt: not UTF-8 at byte 3 "):
            read(tmp_path / "corpus", unit="character")

    def test_bytes_may_be_anything(self, tmp_path: Path) -> None:
        data, _ = read(write(tmp_path / "text", bytes(range(256)) * 10))
        assert data.vocab_size == 256
        assert finished(Bytes(), "").vocabulary.n_bytes.tolist() == [1] * 256

    def test_another_vocabulary_is_other_data(self, tmp_path: Path) -> None:
        hashes = [
            read(write(tmp_path / name / "text", text), unit="word")[0].data_hash
            for name, text in (("a", "x y\n" * 99), ("b", "x z\n" * 99))
        ]
        assert hashes[0] != hashes[1], "the ids are the same, the words are not"


class TestLargeVocabularies:
    def objective(self, tmp_path: Path, **settings: Any) -> LanguageModeling:
        path = write(tmp_path / "text", "".join(f"word{n} " for n in range(600)) * 2)
        objective = read(path, unit="word", **settings)[0].objective
        assert isinstance(objective, LanguageModeling)
        return objective

    def test_a_small_one_has_a_full_softmax_and_tied_weights(self, tmp_path: Path) -> None:
        objective = self.objective(tmp_path)
        assert objective.adaptive is None
        assert objective.tied
        assert not self.objective(tmp_path, tied=False).tied

    def test_bytes_are_not_tied(self, tmp_path: Path) -> None:
        assert not read(write(tmp_path / "text", POEM))[0].objective.tied  # type: ignore[attr-defined]

    def test_a_large_one_is_cut_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data_module, "LARGE", 500)
        monkeypatch.setattr(data_module, "CUTOFFS", (100, 400, 20_000))
        assert self.objective(tmp_path).adaptive == Adaptive((100, 400), 4, True)
        assert self.objective(tmp_path, cutoffs=[]).adaptive is None

    def test_cutoffs_are_taken_as_given(self, tmp_path: Path) -> None:
        objective = self.objective(tmp_path, cutoffs=(10, 300), div_value=2, tied_projections=False)
        assert objective.adaptive == Adaptive((10, 300), 2, False)

    def test_cutoffs_beyond_the_vocabulary_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"below the vocabulary's size \(60.\), got \[10, 6000\]"):
            self.objective(tmp_path, cutoffs=(10, 6000))

    @pytest.mark.parametrize("cutoffs", [(0,), (5, 5), (7, 3)])
    def test_cutoffs_must_rise(self, cutoffs: tuple[int, ...]) -> None:
        with pytest.raises(ValidationError, match="cutoffs must rise from 1 up"):
            LanguageModelOptions(cutoffs=cutoffs)
