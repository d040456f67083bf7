"""The Long Range Arena's pairs of papers: small files in their layout, damaged ones, and real papers where at hand."""

import io
import lzma
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from attention_arena.byte_text import text_of
from attention_arena.pairs import PairSplit
from attention_arena.task import Split, TaskError
from attention_arena_tasks.retrieval import RETRIEVAL, aan
from attention_arena_tasks.retrieval.data import RetrievalOptions, load

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aan"
ROWS = [
    b'1.0\tA00-1001\tB00-1002\tAn "unclosed quote, and text\tAnother paper',
    b'0.0\tA00-1001\tC00-1003\tAn "unclosed quote, and text\tCaf\xc3\xa9s of the world',
    b'1\tC00-1003\tA00-1001\tCaf\xc3\xa9s of the world\tAn "unclosed quote, and text',
    b"0.0\tD00-1004\tB00-1002\t\tAnother paper",
]


def write(folder: Path, rows: list[bytes] = ROWS, end: bytes = b"\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in aan.FILES:
        (folder / name).write_bytes(b"".join(row + end for row in rows))
    return folder


def pack(folder: Path, file: Path) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder, "lra_release")
        info = tarfile.TarInfo("lra_release/pathfinder32/metadata/0.npy")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"0000"))
    return file


def official(path: Path, max_length: int = 4000) -> RetrievalOptions:
    return RetrievalOptions(source="official", path=path, max_length=max_length)


def rows_of(split: Split) -> list[tuple[int, bytes, bytes]]:
    assert isinstance(split, PairSplit)
    texts = [text_of(split.tokens[a:b]) for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)]
    return [(int(y), texts[a], texts[b]) for (a, b), y in zip(split.pairs, split.targets, strict=True)]


class TestReading:
    def test_rows_are_read_as_they_stand(self, tmp_path: Path) -> None:
        data = load(official(write(tmp_path / "files")), tmp_path / "cache")
        expected = [row.split(b"\t") for row in ROWS]
        for split in (data.train, data.validation, data.test):
            assert rows_of(split) == [(int(float(row[0])), row[3], row[4]) for row in expected]

    def test_a_text_is_kept_once(self, tmp_path: Path) -> None:
        split = load(official(write(tmp_path / "files")), tmp_path / "cache").train
        assert isinstance(split, PairSplit)
        assert len(split.offsets) - 1 == 4

    def test_neither_layout_nor_packing_nor_line_end_matters(self, tmp_path: Path) -> None:
        write(tmp_path / "lra" / "lra_release" / "lra_release" / "tsv_data")
        places = [
            write(tmp_path / "plain"),
            write(tmp_path / "crlf", end=b"\r\n"),
            tmp_path / "lra",
            pack(tmp_path / "lra", tmp_path / "lra_release.gz"),
        ]
        hashes = {load(official(place), tmp_path / "cache").data_hash for place in places}
        assert hashes == {"dc68be222bb6d677628db3533081444284031d6b4692f19c9b6d249e852d8271"}

    def test_texts_are_cut_at_max_length(self, tmp_path: Path) -> None:
        data = load(official(write(tmp_path / "files"), max_length=5), tmp_path / "cache")
        assert rows_of(data.test)[1] == (0, b'An "u', b"Caf\xc3\xa9")

    def test_changed_files_are_read_anew(self, tmp_path: Path) -> None:
        before = load(official(write(tmp_path / "files")), tmp_path / "cache")
        after = load(official(write(tmp_path / "files", ROWS[:2])), tmp_path / "cache")
        assert before.data_hash != after.data_hash

    def test_what_follows_the_pairs_in_an_archive_is_not_read(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "files")
        with tarfile.open(tmp_path / "lra_release.gz", "w:gz") as archive:
            archive.add(folder, "lra_release")
            archive.addfile(tarfile.TarInfo("../refused"))
        assert load(official(tmp_path / "lra_release.gz"), tmp_path / "cache").test.n_examples == 4


class TestSource:
    def test_only_the_releases_counts_are_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write(tmp_path / "files")
        source = load(official(folder), tmp_path / "cache").source
        assert source.kind == "user"
        assert "4 + 4 + 4 pairs, not its 147,086 + 18,090 + 17,437" in source.description
        monkeypatch.setattr(aan, "COUNTS", dict.fromkeys(aan.COUNTS, 4))
        assert load(official(folder), tmp_path / "cache").source.kind == "official"
        assert aan.inspect(folder).complete


class TestInspection:
    def test_it_counts_and_names_what_differs_from_the_release(self, tmp_path: Path) -> None:
        found = aan.inspect(pack(write(tmp_path / "files"), tmp_path / "lra_release.gz"))
        assert found.counts == {"train": 4, "validation": 4, "test": 4}
        assert found.usable
        assert not found.complete
        assert found.problems[0].endswith("train has 4 pairs, the release has 147,086")

    def test_it_names_every_damaged_and_missing_file(self, tmp_path: Path) -> None:
        folder = write(tmp_path)
        (folder / "new_aan_pairs.eval.tsv").write_bytes(ROWS[0] + b"\nnonsense\n")
        (folder / "new_aan_pairs.test.tsv").write_bytes(b"")
        found = aan.inspect(folder)
        assert len(found.problems) == 2
        assert "new_aan_pairs.eval.tsv, line 2" in found.problems[0]
        assert "new_aan_pairs.test.tsv, line 1" in found.problems[1]
        assert found.counts == {"train": 4, "validation": 0, "test": 0}
        assert not found.usable

    @pytest.mark.parametrize("content", [None, b"", b"\x1f\x8bnonsense"])
    def test_it_raises_nothing(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "lra_release.gz").write_bytes(content)
        found = aan.inspect(tmp_path / "lra_release.gz")
        assert (found.layout, found.complete) == ("", False)
        assert found.problems
        assert not found.usable

    def test_the_catalogue_inspects_by_the_same_reader(self) -> None:
        assert RETRIEVAL.datasets[0].inspect is aan.inspect


class TestBadInput:
    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            (
                b"1.0\ta\tb\tone text",
                "line 5: expected label, two ids and two texts with tabs in between, got 4 fields",
            ),
            (b"1.0\ta\tb\tone\ttwo\tthree", "line 5: .* got 6 fields"),
            (b"", "line 5: .* got 1 fields"),
            (b"label\ta\tb\tone\ttwo", "line 5: expected the label 0.0 or 1.0, got b'label'"),
            (b"2.0\ta\tb\tone\ttwo", "line 5: expected the label"),
            (b"nan\ta\tb\tone\ttwo", "line 5: expected the label"),
            (b"0.5\ta\tb\tone\ttwo", "line 5: expected the label"),
            (b"1.0\ta\tb\tcaf\xe9\ttwo", "line 5: not UTF-8 at byte 11"),
        ],
    )
    def test_a_bad_row_is_named_with_the_way_out(self, tmp_path: Path, row: bytes, complaint: str) -> None:
        folder = write(tmp_path / "files", [*ROWS, row, ROWS[0]])
        with pytest.raises(TaskError, match=rf"new_aan_pairs\.\w+\.tsv, {complaint}.*arena data get lra"):
            load(official(folder), tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache" / "retrieval").iterdir() if path.suffix != ".lock"]

    def test_a_line_without_end_is_not_read_to_its_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aan, "LONGEST_LINE", 100)
        folder = write(tmp_path / "files", [b"1.0\ta\tb\t" + b"x" * 1000 + b"\ty"])
        with pytest.raises(TaskError, match=r"line 1: .* got 4 fields"):
            load(official(folder), tmp_path / "cache")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        (write(tmp_path / "files") / "new_aan_pairs.eval.tsv").unlink()
        with pytest.raises(
            TaskError, match=r"no new_aan_pairs\.eval\.tsv; expected it here or in lra_release/tsv_data"
        ):
            load(official(tmp_path / "files"), tmp_path / "cache")

    def test_two_copies_are_not_mixed(self, tmp_path: Path) -> None:
        write(tmp_path / "files")
        copy = write(tmp_path / "files" / "copy")
        (copy / "new_aan_pairs.eval.tsv").unlink()
        archive = pack(tmp_path / "files", tmp_path / "lra_release.gz")
        with pytest.raises(
            TaskError, match=r"lra_release/new_aan_pairs\.eval\.tsv is not beside lra_release/copy/new_aan"
        ):
            load(official(archive), tmp_path / "cache")

    def test_an_archive_that_is_cut_short_is_named(self, tmp_path: Path) -> None:
        rows = [b"1.0\ta\tb\t%d\t%x" % (k * k * 7919, k * k * 104729) for k in range(3000)]
        archive = pack(write(tmp_path / "files", rows), tmp_path / "lra_release.gz")
        archive.write_bytes(archive.read_bytes()[:20_000])
        with pytest.raises(TaskError, match=r"lra_release\.gz: damaged or cut short"):
            load(official(archive), tmp_path / "cache")

    def test_nothing_there_is_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="nothing at"):
            load(official(tmp_path / "nowhere"), tmp_path / "cache")
        with pytest.raises(TaskError, match="arena data get lra"):
            load(RetrievalOptions(source="official"), tmp_path / "cache")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real papers are not here")
class TestRealPapers:
    def test_real_papers_are_read_and_their_words_say_what_belongs_together(self, tmp_path: Path) -> None:
        folder = tmp_path / "files"
        folder.mkdir()
        for name in aan.FILES:
            with lzma.open(REAL / f"{name}.xz", "rb") as lines:
                (folder / name).write_bytes(b"".join(islice(lines, 1500)))
        data = load(official(folder), tmp_path / "cache")
        assert data.source.kind == "user"
        ids = (REAL / "pairs_ids.test.tsv").read_bytes().splitlines()[:1500]
        assert [row[0] for row in rows_of(data.test)] == [int(float(line.split(b"\t")[0])) for line in ids]
        assert isinstance(data.test, PairSplit)
        assert data.test.longest == 4000
        assert np.diff(data.test.offsets).min() > 1000
        # Another implementation's tf-idf cosine of these papers' first 4,000 characters scores 81 %.
        assert data.trivial_baselines["words, cosine of tf-idf"] == pytest.approx(81, abs=3)
        assert 50 < data.trivial_baselines["bytes, cosine of counts"] < 70
