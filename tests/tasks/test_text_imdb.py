"""The IMDb reviews: small files in their layout, damaged ones, and the real ones where they are at hand."""

import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attention_arena.byte_text import text_of
from attention_arena.splits import ExampleSplit
from attention_arena.task import TaskError
from attention_arena_tasks.text import TEXT, imdb
from attention_arena_tasks.text.data import TextOptions, load

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "imdb" / "aclImdb_v1_labelled.tar.xz"
N = 20
"""Reviews of each class in each split of the small files."""


def small_files() -> dict[str, bytes]:
    """Return files by path in the archive: distinct reviews, and what lies beside them."""
    files = {
        f"aclImdb/{split}/{label}/{k}_{stars + k % 4}.txt": f"{split} {label} film {k}, ".encode() * (1 + k % 3)
        for split in ("train", "test")
        for label, stars in (("neg", 1), ("pos", 7))
        for k in range(N)
    }
    beside = (
        "aclImdb/README",
        "aclImdb/train/unsup/0_0.txt",
        "aclImdb/train/urls_pos.txt",
        "aclImdb/test/labeledBow.feat",
    )
    return files | dict.fromkeys(beside, b"\xffnot a review")


def as_folder(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def as_archive(files: dict[str, bytes], file: Path, mode: str = "w:gz") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def official(path: Path, **options: Any) -> TextOptions:
    return TextOptions(source="official", path=path, **options)


def rows(split: Any) -> Iterator[tuple[bytes, int]]:
    assert isinstance(split, ExampleSplit)
    for start, stop, target in zip(split.offsets[:-1], split.offsets[1:], split.targets, strict=True):
        yield text_of(split.tokens[start:stop]), int(target)


class TestReading:
    def test_every_review_has_its_text_and_class(self, tmp_path: Path) -> None:
        files = small_files()
        data = load(official(as_folder(files, tmp_path / "files")), tmp_path / "cache")
        expected = {
            (text, int("/pos/" in name))
            for name, text in files.items()
            if name.startswith("aclImdb/test/") and name.endswith(".txt")
        }
        assert set(rows(data.test)) == expected
        assert data.test.n_examples == 2 * N
        trained = {*rows(data.train), *rows(data.validation)}
        assert trained == {
            (text, int("/pos/" in name))
            for name, text in files.items()
            if "/train/pos/" in name or "/train/neg/" in name
        }

    def test_neither_packing_nor_order_nor_root_matters(self, tmp_path: Path) -> None:
        files = small_files()
        shuffled = list(files.items())
        random.Random(3).shuffle(shuffled)
        bare = {name.removeprefix("aclImdb/"): content for name, content in files.items()}
        places = [
            as_folder(files, tmp_path / "folder"),
            as_folder(files, tmp_path / "root") / "aclImdb",
            as_archive(files, tmp_path / "aclImdb_v1.tar.gz"),
            as_archive(dict(shuffled), tmp_path / "shuffled.tar.xz", "w:xz"),
            as_archive(bare, tmp_path / "bare.tar", "w"),
            as_archive(files, tmp_path / "kept" / "aclImdb_v1.tar.gz").parent,
        ]
        hashes = {load(official(place), tmp_path / "cache").data_hash for place in places}
        assert hashes == {"5f0ad44a58938af6f3882a656a25580836a9e01b80bc524ead13e536afbc5d1a"}

    def test_texts_are_cut_at_max_length(self, tmp_path: Path) -> None:
        data = load(official(as_folder(small_files(), tmp_path / "files"), max_length=10), tmp_path / "cache")
        assert {len(text) for text, _ in rows(data.test)} == {10}

    def test_classes_alternate_so_that_the_first_reviews_are_a_fair_sample(self, tmp_path: Path) -> None:
        data = load(official(as_folder(small_files(), tmp_path / "files")), tmp_path / "cache")
        for split in (data.train, data.validation, data.test):
            assert [target for _, target in rows(split)] == [0, 1] * (split.n_examples // 2)

    def test_changed_files_are_read_anew(self, tmp_path: Path) -> None:
        folder = as_folder(small_files(), tmp_path / "files")
        before = load(official(folder), tmp_path / "cache")
        (folder / "aclImdb/test/pos/3_10.txt").write_bytes(b"another text")
        assert load(official(folder), tmp_path / "cache").test.content_hash != before.test.content_hash

    def test_nothing_is_written_but_the_cache(self, tmp_path: Path) -> None:
        archive = as_archive(small_files(), tmp_path / "in" / "aclImdb_v1.tar.gz")
        load(official(archive), tmp_path / "cache")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "in"]
        assert list((tmp_path / "in").iterdir()) == [archive]


class TestValidation:
    def test_the_last_tenth_of_each_class_is_held_out(self, tmp_path: Path) -> None:
        data = load(official(as_folder(small_files(), tmp_path / "files")), tmp_path / "cache")
        assert (data.train.n_examples, data.validation.n_examples) == (2 * N - 4, 4)
        held = {text.split(b",")[0].decode() for text, _ in rows(data.validation)}
        assert held == {f"train {label} film {k}" for label in ("neg", "pos") for k in (N - 2, N - 1)}

    def test_a_text_that_occurs_twice_is_not_held_out(self, tmp_path: Path) -> None:
        files = small_files()
        files[f"aclImdb/train/pos/{N - 1}_10.txt"] = files["aclImdb/train/pos/0_7.txt"]
        data = load(official(as_folder(files, tmp_path / "files")), tmp_path / "cache")
        trained, held = ([text for text, _ in rows(split)] for split in (data.train, data.validation))
        assert not set(trained) & set(held)
        assert len(held) == 4

    def test_the_test_reviews_serve_as_validation_where_asked(self, tmp_path: Path) -> None:
        data = load(official(as_folder(small_files(), tmp_path / "files"), validation="test"), tmp_path / "cache")
        assert data.validation.content_hash == data.test.content_hash
        assert data.train.n_examples == 2 * N
        assert "40 + 40 + 40" in data.source.description
        assert "validation is the test reviews themselves" in data.source.description

    def test_too_few_to_hold_out_is_an_error(self, tmp_path: Path) -> None:
        files = {name: text for name, text in small_files().items() if "train/pos/" not in name}
        files["aclImdb/train/pos/0_7.txt"] = b"alone"
        with pytest.raises(TaskError, match=r"train/pos has 1 reviews .* set `validation: test`"):
            load(official(as_folder(files, tmp_path / "files")), tmp_path / "cache")


class TestSource:
    def test_fewer_reviews_than_the_release_are_the_users(self, tmp_path: Path) -> None:
        source = load(official(as_folder(small_files(), tmp_path / "files")), tmp_path / "cache").source
        assert source.kind == "user"
        assert "not the release's" in source.description

    def test_only_the_releases_own_content_is_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = small_files()
        folder = as_folder(files, tmp_path / "files")
        monkeypatch.setattr(imdb, "PER_CLASS", N)
        assert load(official(folder), tmp_path / "cache").source.kind == "user"
        monkeypatch.setattr(imdb, "CONTENT", imdb.content_digest(imdb.read(folder)))
        assert load(official(folder), tmp_path / "again").source.kind == "official"
        assert imdb.inspect(folder).complete


class TestInspection:
    def test_it_counts_and_names_what_differs_from_the_release(self, tmp_path: Path) -> None:
        found = imdb.inspect(as_archive(small_files(), tmp_path / "aclImdb_v1.tar.gz"))
        assert found.counts == {"train/neg": N, "train/pos": N, "test/neg": N, "test/pos": N}
        assert found.layout
        assert not found.complete
        assert "train/neg has 20 reviews, the release has 12,500" in found.problems[0]

    def test_it_names_every_damaged_file(self, tmp_path: Path) -> None:
        files = small_files() | {"aclImdb/test/pos/90_2.txt": b"x", "aclImdb/train/neg/91_1.txt": b""}
        found = imdb.inspect(as_folder(files, tmp_path))
        assert [problem.partition(", ")[2].partition(":")[0] for problem in found.problems] == [
            "test/pos/90_2.txt",
            "train/neg/91_1.txt",
        ]
        assert found.problems[0].startswith(str(tmp_path / "aclImdb"))

    @pytest.mark.parametrize("content", [None, b"", b"\x1f\x8bnonsense"])
    def test_it_raises_nothing(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "aclImdb_v1.tar.gz").write_bytes(content)
        found = imdb.inspect(tmp_path / "aclImdb_v1.tar.gz")
        assert (found.layout, found.complete, len(found.problems)) == ("", False, 1)
        assert not found.usable

    def test_an_empty_folder_is_no_data_set(self, tmp_path: Path) -> None:
        found = imdb.inspect(tmp_path)
        assert found.layout == ""
        assert "no reviews train/neg" in found.problems[0]


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "complaint"),
        [
            (
                "aclImdb/train/pos/90_3.txt",
                b"x",
                r"train/pos/90_3\.txt: a review in pos has 7 to 10 stars, but .* has 3",
            ),
            ("aclImdb/train/neg/90_7.txt", b"x", r"a review in neg has 1 to 4 stars"),
            ("aclImdb/test/neg/x.txt", b"x", r"test/neg/x\.txt: expected a name of the form <number>_<rating>\.txt"),
            ("aclImdb/test/neg/90_1.txt", b"", r"90_1\.txt: the review is empty"),
            ("aclImdb/test/neg/90_1.txt", b"caf\xe9", r"90_1\.txt: not UTF-8 at byte 3"),
            ("aclImdb/test/neg/3_1.txt", b"x", r"3_\d\.txt: the same split, class and number as aclImdb/test/neg/3_"),
            (
                "copy/train/pos/90_10.txt",
                b"x",
                r"copy/train/pos/90_10\.txt: not below the folder of aclImdb/train/neg/0_1",
            ),
        ],
    )
    def test_a_bad_review_is_named_with_the_way_out(
        self, tmp_path: Path, name: str, content: bytes, complaint: str
    ) -> None:
        archive = as_archive(small_files() | {name: content}, tmp_path / "aclImdb_v1.tar.gz")
        with pytest.raises(TaskError, match=rf"aclImdb_v1\.tar\.gz, .*{complaint}.*arena data get imdb"):
            load(official(archive), tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache" / "text").iterdir() if path.suffix != ".lock"]

    def test_hidden_files_are_no_reviews(self, tmp_path: Path) -> None:
        files = small_files() | {"aclImdb/train/pos/._3_10.txt": b"\x00"}
        assert load(official(as_folder(files, tmp_path / "files")), tmp_path / "cache").test.n_examples == 2 * N

    def test_a_missing_class_is_named(self, tmp_path: Path) -> None:
        files = {name: text for name, text in small_files().items() if "/test/pos/" not in name}
        with pytest.raises(TaskError, match=r"no reviews test/pos/<number>_<rating>\.txt"):
            load(official(as_folder(files, tmp_path / "files")), tmp_path / "cache")

    def test_an_archive_that_is_cut_short_is_named(self, tmp_path: Path) -> None:
        archive = as_archive(small_files(), tmp_path / "aclImdb_v1.tar.gz")
        archive.write_bytes(archive.read_bytes()[:1500])
        with pytest.raises(TaskError, match=r"aclImdb_v1\.tar\.gz: damaged or cut short"):
            load(official(archive), tmp_path / "cache")

    def test_a_member_that_leads_outside_is_refused(self, tmp_path: Path) -> None:
        archive = as_archive(small_files() | {"../train/pos/1_9.txt": b"x"}, tmp_path / "evil.tar.gz")
        with pytest.raises(TaskError, match="leads outside"):
            load(official(archive), tmp_path / "cache")
        assert not (tmp_path / "train").exists()

    def test_nothing_there_is_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="nothing at"):
            load(official(tmp_path / "nowhere"), tmp_path / "cache")
        with pytest.raises(TaskError, match="arena data get imdb"):
            load(TextOptions(source="official"), tmp_path / "cache")

    def test_the_catalogue_inspects_by_the_same_reader(self) -> None:
        assert TEXT.datasets[0].inspect is imdb.inspect


@pytest.fixture(scope="module")
def reviews() -> list[imdb.Review]:
    return imdb.read(REAL)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="the real reviews are not here")
class TestRealReviews:
    def test_counts_and_content_are_the_releases(self, reviews: list[imdb.Review]) -> None:
        assert imdb.is_official(reviews)
        counts = {
            (split, label): sum(review[:2] == (split, label) for review in reviews)
            for split in imdb.SPLITS
            for label in imdb.CLASSES
        }
        assert set(counts.values()) == {12_500}

    def test_sizes_are_those_that_others_published(self, reviews: list[imdb.Review]) -> None:
        # Hugging Face's card of the data set states 33,432,823 and 32,650,685 bytes, with 12 for each review beside its
        # text: an offset and a label.
        sizes = {split: sum(len(review.text) for review in reviews if review.split == split) for split in imdb.SPLITS}
        assert sizes == {"train": 33_432_823 - 12 * 25_000, "test": 32_650_685 - 12 * 25_000}

    def test_held_out_reviews_are_balanced_and_disjoint(self, reviews: list[imdb.Review]) -> None:
        train, held = imdb.hold_out([review for review in reviews if review.split == "train"])
        assert (len(train), len(held)) == (22_500, 2_500)
        assert sum(review.label == "pos" for review in held) == 1_250
        assert not {review.text for review in train} & {review.text for review in held}
