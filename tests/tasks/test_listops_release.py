import io
import lzma
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attention_arena.datasets import DataSet, place_of
from attention_arena.task import TaskData, TaskError
from attention_arena_tasks import listops
from attention_arena_tasks.listops import release
from attention_arena_tasks.listops.data import ListOpsOptions, load
from attention_arena_tasks.listops.expressions import VOCABULARY

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "listops" / "lra_format" / "basic_val.tsv.xz"
HEADER = "Source\tTarget"
ROWS = ("( ( ( [MAX 2 ) 9 ) ] )\t9", "( ( ( [MIN ( ( ( [SM 7 ) 7 ) ] ) ) 5 ) ] )\t4")
OTHERS = ("( ( ( [MED 1 ) 3 ) ] )\t2", ROWS[0])
INNER = "lra_release/lra_release/listops-1000"


def text(*rows: str, header: str = HEADER) -> bytes:
    return "".join(f"{row}\r\n" for row in (header, *rows)).encode()


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in release.FILES.values():
        (folder / name).write_bytes(text(*rows, header=header))
    return folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def layout(folder: str, *rows: str) -> dict[str, bytes]:
    return {f"{folder}/{name}".lstrip("/"): text(*rows) for name in release.FILES.values()}


def load_official(path: Path | None, cache: Path, **options: Any) -> TaskData:
    return load(ListOpsOptions(source="official", path=path, **options), cache)


def expressions(data: TaskData) -> Iterator[str]:
    for row in next(data.test.batches(8)).tokens:
        yield " ".join(VOCABULARY[token] for token in row[row > 0].tolist())


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the release have two examples a split."""
    monkeypatch.setattr(release, "COUNTS", {"train": 2, "validation": 2, "test": 2})


@pytest.mark.parametrize("folder", release.LAYOUTS)
def test_files_are_read_wherever_the_archive_was_unpacked(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "lra" / folder, *ROWS)
    data = load_official(tmp_path / "lra", tmp_path / "cache")
    assert list(expressions(data)) == ["[MAX 2 9 ]", "[MIN [SM 7 7 ] 5 ]"]
    assert next(data.test.batches(2)).targets.tolist() == [9, 4]


@pytest.mark.parametrize("folder", [*release.LAYOUTS, "./lra_release/listops-1000"])
def test_files_are_read_from_the_archive_as_from_a_folder(tmp_path: Path, folder: str) -> None:
    archive = pack(tmp_path / "lra_release.gz", {"lra_release/README": b"other", **layout(folder, *ROWS)})
    packed = load_official(archive, tmp_path / "cache")
    unpacked = load_official(write(tmp_path / "files", *ROWS), tmp_path / "cache")
    assert packed.data_hash == unpacked.data_hash
    assert packed.trivial_baselines == unpacked.trivial_baselines


def test_what_was_fetched_is_found_without_a_path(tmp_path: Path) -> None:
    pack(place_of("lra", tmp_path) / "lra_release.gz", layout(INNER, *ROWS))
    assert list(expressions(load_official(None, tmp_path))) == ["[MAX 2 9 ]", "[MIN [SM 7 7 ] 5 ]"]


def test_an_archive_is_read_no_further_than_necessary(tmp_path: Path) -> None:
    rest = random.Random(0).randbytes(2**20)
    archive = pack(tmp_path / "lra.tar.gz", {**layout(INNER, *ROWS), "rest": rest})
    archive.write_bytes(archive.read_bytes()[:-10])
    assert load_official(archive, tmp_path / "cache").test.n_examples == 2


def test_without_the_release_there_are_ways_out(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"`arena data get lra`.* leave `source` at its default"):
        load_official(None, tmp_path)


def test_only_the_releases_counts_are_official(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    files = write(tmp_path / "files", *ROWS)
    assert load_official(files, tmp_path / "cache").source.kind == "user"
    request.getfixturevalue("released")
    assert load_official(files, tmp_path / "cache").source.kind == "official"


def test_changed_files_are_read_anew(tmp_path: Path) -> None:
    files = write(tmp_path / "files", *ROWS)
    before = load_official(files, tmp_path / "cache").data_hash
    write(files, *ROWS[:1])
    assert load_official(files, tmp_path / "cache").data_hash != before


DAMAGED = [
    ("[MAX 2 9 ]", r"line 3: expected an expression, a tab and a class, got 1 fields"),
    ("[MAX 2 9 ]\t10", r"line 3: expected a class from 0 to 9, got b'10'"),
    ("[MAX 2 9 ]\t2", r"line 3: the class is 2, but the expression's value is 9"),
    ("[MAX 2 9\t9", r"line 3: the brackets do not match"),
    ("[LAST 2 9 ]\t9", r"line 3: '\[LAST' is not one of"),
    ("[MAX 2 \udcff ]\t9", r"line 3: '.*' is not one of"),
    ("", r"line 3: expected an expression"),
    ("[MAX 2" + " 9" * 50 + " ]\t9", r"line 3: 53 symbols, but max_length is 50"),
    ("[MAX " + "9 " * 2**20 + "]\t9", r"line 3: expected an expression, a tab and a class, got 1 fields"),
]


@pytest.mark.parametrize(("row", "complaint"), DAMAGED)
def test_a_damaged_line_is_named_and_leaves_nothing(tmp_path: Path, row: str, complaint: str) -> None:
    path = write(tmp_path / "files", ROWS[0])
    content = text(ROWS[0]) + row.encode(errors="surrogateescape") + b"\r\n"
    (path / "basic_train.tsv").write_bytes(content)
    with pytest.raises(TaskError, match=rf"basic_train\.tsv, {complaint}"):
        load_official(path, tmp_path / "cache", max_length=50)
    archive = pack(tmp_path / "lra.tar.gz", {"listops-1000/basic_train.tsv": content})
    with pytest.raises(TaskError, match=rf"lra\.tar\.gz: listops-1000/basic_train\.tsv, {complaint}"):
        load_official(archive, tmp_path / "cache", max_length=50)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_another_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="line 1: expected the header"):
        load_official(write(tmp_path / "files", *ROWS, header="text,label"), tmp_path / "cache")


def test_a_file_without_examples_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="has no examples"):
        load_official(write(tmp_path / "files"), tmp_path / "cache")


def test_missing_files_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    files = write(tmp_path / "files", *ROWS)
    (files / "basic_test.tsv").unlink()
    with pytest.raises(TaskError, match=r"expected basic_train\.tsv.* has train, validation only.* `generated`"):
        load_official(files, tmp_path / "cache")


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    archive = pack(tmp_path / "lra.tar.gz", layout("listops-1000", *ROWS))
    archive.write_bytes(archive.read_bytes()[:150])
    with pytest.raises(TaskError, match="damaged or cut short"):
        load_official(archive, tmp_path / "cache")


class TestInspection:
    def test_the_release_is_complete(self, tmp_path: Path, released: None) -> None:
        rows = {"basic_train.tsv": ROWS, "basic_val.tsv": ("3\t3", "4\t4"), "basic_test.tsv": ("5\t5", "6\t6")}
        archive = pack(tmp_path / "lra", {f"{INNER}/{name}": text(*each) for name, each in rows.items()})
        found = release.inspect(archive)
        assert found == (
            f"Long Range Arena's ListOps files in {INNER}", {"train": 2, "validation": 2, "test": 2}, (), True,
        )  # fmt: skip

    def test_other_counts_are_usable_and_said(self, tmp_path: Path) -> None:
        found = release.inspect(write(tmp_path / "files", *ROWS))
        assert (found.complete, found.usable) == (False, True)
        assert "basic_train.tsv has 2 examples, the release 96,000" in found.problems
        assert "4 expressions stand more than once" in found.problems

    def test_copies_that_differ_are_said(self, tmp_path: Path, released: None) -> None:
        archive = pack(tmp_path / "lra", {**layout("lra_release/listops-1000", *ROWS), **layout(INNER, *OTHERS)})
        found = release.inspect(archive)
        assert f"basic_test.tsv in {INNER} is not the one in lra_release/listops-1000" in found.problems

    def test_what_is_missing_or_damaged_is_named(self, tmp_path: Path) -> None:
        files = write(tmp_path / "files", *ROWS)
        (files / "basic_test.tsv").unlink()
        (files / "basic_val.tsv").write_bytes(text(ROWS[0], "nonsense"))
        found = release.inspect(files)
        assert (found.usable, found.counts) == (False, {"train": 2, "validation": 0, "test": 0})
        assert any("basic_val.tsv, line 3: expected an expression" in problem for problem in found.problems)
        assert any("basic_test.tsv is missing" in problem for problem in found.problems)

    @pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8bbroken"])
    def test_what_is_no_archive_is_no_layout(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "file").write_bytes(content)
        found = release.inspect(tmp_path / "file")
        assert (found.layout, found.complete, found.usable) == ("", False, False)
        assert found.problems

    def test_nothing_there_is_no_layout(self, tmp_path: Path) -> None:
        assert not release.inspect(tmp_path / "nowhere").usable
        assert not release.inspect(tmp_path).usable


def test_the_task_offers_the_release() -> None:
    [task] = listops.register_tasks()
    [data_set] = task.datasets
    assert isinstance(data_set, DataSet)
    assert data_set.name == "lra"
    task.options(**data_set.options)


@pytest.mark.skipif(not REAL.is_file(), reason="the real ListOps files are not here")
def test_the_reference_generators_file_is_sound(tmp_path: Path) -> None:
    (tmp_path / "basic_val.tsv").write_bytes(lzma.decompress(REAL.read_bytes()))
    found = release.inspect(tmp_path)
    assert found.counts == {"train": 0, "validation": 2000, "test": 0}
    assert not any("basic_val" in problem for problem in found.problems)
