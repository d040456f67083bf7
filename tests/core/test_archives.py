"""Reading folders and tar archives, sound ones and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attention_arena import archives
from attention_arena.archives import LONGEST_HEADER, is_archive, members, read_bytes, streams
from attention_arena.errors import TaskError

FILES = {"set/b.txt": b"second", "set/a.txt": b"first", "set/deep/c.bin": bytes(range(256)) * 40}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip


def tar(*infos: tarfile.TarInfo, files: dict[str, bytes] = FILES, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """Return a tar archive of `files`, and after them members that have headers alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in infos:
            archive.addfile(info)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_folder_is_read_in_the_order_of_paths(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert list(members(tmp_path)) == sorted(FILES.items())
    assert [each.name for each in members(tmp_path, lambda name: name.endswith("a.txt"))] == ["set/a.txt"]


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("rename", [False, True])
def test_an_archive_is_read_in_its_own_order_whatever_its_name(tmp_path: Path, suffix: str, rename: bool) -> None:
    path = write(tmp_path / ("release.gz" if rename else f"data{suffix}"), PACK[suffix](tar()))
    assert is_archive(path)
    assert list(members(path)) == list(FILES.items())
    assert [each.name for each in members(path, lambda name: "deep" in name)] == ["set/deep/c.bin"]


def test_names_lose_what_means_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tar", tar(files={"./set//a.txt": b"first"}))
    assert [each.name for each in members(path)] == ["set/a.txt"]


def test_long_names_of_every_format_are_whole(tmp_path: Path) -> None:
    name = "/".join(["folder"] * 40) + "/ünïcode.txt"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):  # noqa: A001
        path = write(tmp_path / "data.tar", tar(files={name: b"x"}, format=format))
        assert list(members(path)) == [(name, b"x")]


def test_a_large_file_can_be_read_in_pieces_and_left(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tar", tar())
    begun = {stream.name: (stream.size, stream.file.read(3)) for stream in streams(path)}
    assert begun == {name: (len(content), content[:3]) for name, content in FILES.items()}


def test_nothing_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tar", tar())
    list(members(path))
    assert [each.name for each in tmp_path.iterdir()] == ["data.tar"]


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        (member("../outside.txt"), "member '../outside.txt' is refused, because its name leads outside"),
        (member("set/../../outside.txt"), "its name leads outside"),
        (member("/etc/passwd"), "its name leads outside"),
        (member("..\\outside.txt"), "its name leads outside"),
        (member("set/link", tarfile.SYMTYPE, "/etc/passwd"), "it is a link to '/etc/passwd'"),
        (member("set/link", tarfile.LNKTYPE, "set/a.txt"), "it is a link to 'set/a.txt'"),
        (member("set/device", tarfile.CHRTYPE), "it is neither a plain file nor a folder"),
        (member("set/pipe", tarfile.FIFOTYPE), "it is neither a plain file nor a folder"),
        (member("set/sparse", tarfile.GNUTYPE_SPARSE), "it is neither a plain file nor a folder"),
        (member("set/huge", size=2**40), "it reaches beyond 68,719,476,736 bytes"),
    ],
)
def test_a_hostile_member_is_refused_wanted_or_not(tmp_path: Path, info: tarfile.TarInfo, complaint: str) -> None:
    path = write(tmp_path / "data.tar", tar(info))
    for wanted in (lambda name: True, lambda name: name == "nothing"):
        with pytest.raises(TaskError, match=complaint) as refusal:
            list(members(path, wanted))
        assert str(path) in str(refusal.value)


def test_a_member_too_large_to_be_read_at_once_is_refused_if_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST", 1000)
    path = write(tmp_path / "data.tar", tar())
    assert len(list(members(path, lambda name: "deep" not in name))) == 2
    with pytest.raises(TaskError, match=r"'set/deep/c\.bin' is refused, because it has 10,240 bytes, more than 1,000"):
        list(members(path))


def test_padding_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST", 2**20)
    path = write(tmp_path / "bomb.tar.gz", gzip.compress(tar() + bytes(2**21)))
    with pytest.raises(TaskError, match="more than 1,048,576 bytes are packed in it"):
        list(members(path))


def test_a_description_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = member("long", kind, size=LONGEST_HEADER + 1).tobuf(tarfile.GNU_FORMAT)
        path = write(tmp_path / "data.tar", header + bytes(2**21))
        with pytest.raises(TaskError, match="a header of 1,048,577 bytes"):
            list(members(path))


def described(**words: str) -> bytes:
    """Return a header that describes the next one."""
    records = b""
    for key, value in words.items():
        line = f" {key.replace('_', '.')}={value}\n".encode(errors="surrogateescape")
        n = len(line)
        while n != len(str(n)) + len(line):
            n = len(str(n)) + len(line)
        records += str(n).encode() + line
    header = member("description", tarfile.XHDTYPE, size=len(records)).tobuf(tarfile.GNU_FORMAT)
    return header + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (described(size="-100"), "it has -100 bytes"),
        (described(size="9" * 40), "it reaches beyond"),
        (described(hdrcharset="\udcff\udcfe"), "damaged or cut short"),
        (described(GNU_sparse_map="a,b", GNU_sparse_size="10"), "damaged or cut short"),
        (described(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="x"), "damaged or cut short"),
        (described(a="b") * 5000, "damaged or cut short"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, start: bytes, complaint: str) -> None:
    path = write(tmp_path / "data.tar", start + tar())
    for wanted in (lambda name: True, lambda name: name == "nothing"):
        with pytest.raises(TaskError, match=complaint):
            list(members(path, wanted))


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.95])
def test_a_truncated_archive_is_damaged_wherever_it_ends(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = {"set/noise": random.Random(0).randbytes(300_000)}
    whole = PACK[suffix](tar(files={**FILES, **noise}))
    path = write(tmp_path / f"data{suffix}", whole[: int(keep * len(whole))])
    for wanted in (lambda name: True, lambda name: name == "nothing"):
        with pytest.raises(TaskError, match="damaged or cut short"):
            list(members(path, wanted))


def test_an_archive_that_ends_between_two_members_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tar", tar()[: 2 * 1024])
    with pytest.raises(TaskError, match=r"cut short after 'set/a\.txt' \(the mark of its end is missing\)"):
        list(members(path))


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    content = bytearray(tar())
    content[1024 + 5] ^= 1
    path = write(tmp_path / "data.tar", bytes(content))
    with pytest.raises(TaskError, match=r"damaged or cut short after 'set/b\.txt'"):
        list(members(path))


def test_a_flipped_bit_that_only_the_packers_checksum_shows_is_damage(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(tar(), compresslevel=0))
    packed[packed.index(b"second")] ^= 1
    path = write(tmp_path / "data.tar.gz", bytes(packed))
    with pytest.raises(TaskError, match="CRC check failed"):
        list(members(path))


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", b"x" * 5000, gzip.compress(b"a page", mtime=0), b"\x1f\x8b", bytes(100)],
    ids=["empty", "text", "long text", "packed text", "cut short", "zeros"],
)
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "data.bin", content)
    assert not is_archive(path)
    with pytest.raises(TaskError, match="expected a tar archive"):
        list(members(path))


def test_random_damage_is_an_error_or_harmless(tmp_path: Path) -> None:
    """Every mutation of a header either reads or is a TaskError: nothing else comes out, and nothing hangs."""
    draw = random.Random(0)
    long_name = "/".join(["folder"] * 40)
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):  # noqa: A001
        sound = tar(files={long_name: b"x" * 700, **FILES}, format=format)
        for _ in range(200):
            content = bytearray(sound)
            start = 512 * draw.randrange(8)
            for _ in range(draw.randint(1, 4)):
                content[start + draw.randrange(512)] = draw.randrange(256)
            head = content[start : start + 512]
            head[148:156] = b" " * 8
            if draw.random() < 0.7:  # let the damage pass the header's own checksum
                content[start + 148 : start + 156] = struct.pack("8s", b"%06o\0 " % sum(head))
            try:
                list(members(write(tmp_path / "data.tar", bytes(content))))
            except TaskError:
                continue


def test_nothing_at_a_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nothing at .*: expected a folder, or an archive"):
        list(members(tmp_path / "nowhere"))
    with pytest.raises(TaskError, match=r"cannot read .*nowhere: No such file"):
        read_bytes(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_or_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    for place in (write(tmp_path / "a.txt", b"x"), tmp_path / "closed"):
        place.chmod(0)
        with pytest.raises(TaskError, match=f"cannot read {place}: Permission denied"):
            list(members(tmp_path))
        place.chmod(0o700)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    write(tmp_path / "a.txt", b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TaskError, match=r"cannot read .*a\.txt: Permission denied\. Check the path"):
        list(members(tmp_path))
