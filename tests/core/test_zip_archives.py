import struct
import zipfile
from pathlib import Path

import pytest

from attention_arena import archives
from attention_arena.archives import Member, is_archive, members, streams
from attention_arena.errors import TaskError

FILES = {"data/b.txt": b"second " * 1000, "data/a.txt": b"first", "other/c.bin": bytes(range(256))}


def write_zip(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr(zipfile.ZipInfo("data/"), b"")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return path


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_are_read_in_their_order(tmp_path: Path, packing: int) -> None:
    path = write_zip(tmp_path / "data.zip", FILES, packing)
    assert list(members(path)) == [Member(name, content) for name, content in FILES.items()]


def test_only_wanted_files_are_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    assert [member.name for member in members(path, lambda name: name.endswith(".txt"))] == ["data/b.txt", "data/a.txt"]


def test_a_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    for name, size, file in streams(path, lambda name: name == "data/b.txt"):
        assert (name, size) == ("data/b.txt", 7000)
        assert file.read(6) + file.read() == FILES["data/b.txt"]


def test_it_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data", FILES)
    assert is_archive(path)
    assert len(list(members(path))) == 3
    assert is_archive(tmp_path / "absent.zip"), "or by its name"


@pytest.mark.parametrize("name", ["../escape.txt", "/etc/passwd", "a/../../b", "a\\..\\b"])
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "data.zip", {"good.txt": b"1", name: b"2"})
    with pytest.raises(TaskError, match="leads outside the archive"):
        list(members(path, lambda name: name == "good.txt"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(TaskError, match="'link' is refused, because it is neither a plain file nor a folder"):
        list(members(path))


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", {"secret": b"1"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.rindex(mark) + place
        content[start : start + 2] = struct.pack("<H", 1)
    path.write_bytes(content)
    with pytest.raises(TaskError, match="'secret' is refused, because it is encrypted"):
        list(members(path))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", {"a.txt": b"abcdefgh" * 100}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"abcdefgh", b"abcdefgX", 1))
    with pytest.raises(TaskError, match=r"data.zip: damaged or cut short at 'a.txt' .*expected a zip archive"):
        list(members(path))


@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
def test_an_archive_that_was_cut_short_is_an_error(tmp_path: Path, left: float) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])
    with pytest.raises(TaskError, match="damaged or cut short"):
        list(members(path))


def test_more_than_may_be_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "data.zip", {"a": b"0" * 600, "b": b"0" * 600})
    monkeypatch.setattr(archives, "MOST", 1000)
    with pytest.raises(TaskError, match="'b' is refused, because it reaches beyond 1,000 bytes"):
        list(members(path))
    monkeypatch.setattr(archives, "LARGEST", 500)
    with pytest.raises(TaskError, match="'a' is refused, because it has 600 bytes, more than 500"):
        list(members(path, lambda name: name == "a"))


def test_nothing_is_written(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    list(members(path))
    assert list(tmp_path.iterdir()) == [path]
