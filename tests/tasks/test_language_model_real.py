"""Real corpora, where they lie beside the checkout; skipped elsewhere."""

import lzma
import math
from collections import Counter
from pathlib import Path

import pytest

from attention_arena_tasks.language_model.data import prepare_text
from attention_arena_tasks.language_model.next_token import LanguageModelOptions, load
from attention_arena_tasks.language_model.official import examine
from attention_arena_tasks.language_model.releases import RELEASES

DATA = Path(__file__).parents[2] / "../shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real corpora are not beside the checkout"),
]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    for pattern in ("wikitext-2/*", "wikitext-103/*", "ptb/*", "lm1b/*", "enwik8/*", "text8/*"):
        for file in DATA.glob(f"{pattern}.xz"):
            (root / file.parent.name).mkdir(exist_ok=True)
            (root / file.parent.name / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    return root


OFFICIAL = {
    "wikitext-2": ("wikitext-2", 33_278, (2_088_628, 217_646, 245_569)),
    "ptb": ("ptb", 10_000, (929_589, 73_760, 82_430)),
    "ptb-char": ("ptb", 50, (5_017_482, 393_042, 442_423)),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_complete_corpora_are_official_with_their_published_counts(name: str, unpacked: Path) -> None:
    folder, n_types, counts = OFFICIAL[name]
    options = LanguageModelOptions(corpus=name, path=unpacked / folder)
    data = load(options, unpacked / "cache")
    assert data.source.kind == "official"
    assert data.vocab_size == n_types
    assert tuple(split.n_examples + 1 for split in (data.train, data.validation, data.test)) == counts
    assert examine(RELEASES[name], unpacked / folder).complete


@pytest.mark.parametrize(("name", "file"), [("wikitext-2", "wiki.test.tokens"), ("ptb", "ptb.test.txt")])
def test_bytes_of_tokens_are_those_of_the_file(name: str, file: str, unpacked: Path) -> None:
    text = prepare_text(LanguageModelOptions(corpus=name, path=unpacked / name), unpacked / "cache")
    test = load(LanguageModelOptions(corpus=name, path=unpacked / name), unpacked / "cache").test
    n_bytes = text.vocabulary.n_bytes[test.tokens].sum()  # type: ignore[attr-defined]
    assert n_bytes == (unpacked / name / file).stat().st_size


def test_frequencies_of_the_treebank_are_those_of_counting(unpacked: Path) -> None:
    files = {split: (unpacked / "ptb" / f"ptb.{split}.txt").read_text() for split in ("train", "test")}
    train, test = (text.replace("\n", " <eos> ").split() for text in files.values())
    counts = Counter(train[1:])
    total = len(train) - 1 + 10_000
    nats = -sum(math.log((counts[word] + 1) / total) for word in test[1:])
    data = load(LanguageModelOptions(corpus="ptb", path=unpacked / "ptb"), unpacked / "cache")
    assert data.trivial_baselines["word frequencies"] == pytest.approx(math.exp(nats / (len(test) - 1)))


def test_ids_of_wikitext_are_ranks(unpacked: Path) -> None:
    options = LanguageModelOptions(corpus="wikitext-2", path=unpacked / "wikitext-2")
    vocabulary = prepare_text(options, unpacked / "cache").vocabulary
    counts = Counter((unpacked / "wikitext-2" / "wiki.train.tokens").read_text().replace("\n", " <eos> ").split())
    assert list(vocabulary.tokens) == sorted(counts, key=lambda word: (-counts[word], word.encode()))
    assert vocabulary.counts.tolist() == [counts[word] for word in vocabulary.tokens]


def test_a_prefix_of_enwik8_is_never_official(unpacked: Path) -> None:
    data = load(LanguageModelOptions(corpus="enwik8", path=unpacked / "enwik8"), unpacked / "cache")
    assert data.source.kind == "user"
    assert "not the release's files (90,000,000 + 5,000,000 + 5,000,000)" in data.source.description
    assert data.train.n_examples + 1 == 4_154_517 * 9 // 10


def test_text8_has_27_characters(unpacked: Path) -> None:
    data = load(LanguageModelOptions(corpus="text8", path=unpacked / "text8"), unpacked / "cache")
    assert data.vocab_size == 27
    assert data.source.kind == "user"


def test_held_out_parts_match_the_publications(unpacked: Path) -> None:
    found = examine(RELEASES["wikitext-103"], unpacked / "wikitext-103")
    assert dict(found.counts) == {"train": 0, "validation": 217_646, "test": 245_569}
    assert [problem.partition(": ")[2][:17] for problem in found.problems] == ["nothing for train"]
    sentences = examine(RELEASES["lm1b"], unpacked / "lm1b")
    assert dict(sentences.counts) == {"train": 0, "validation": 310_490 + 12_216, "test": 306_181 + 12_105}
