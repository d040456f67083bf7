"""Downloads, against a real server in this process that understands ranges and misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from attention_arena import fetching
from attention_arena.datasets import RemoteFile
from attention_arena.errors import TaskError
from attention_arena.fetching import WORKSHOP, fetch

CONTENT = bytes(range(256)) * 4000
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Shelf(ThreadingHTTPServer):
    """Serves `files` by path; `cuts` are the bytes after which successive answers break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data.bin": CONTENT}
        self.cuts: list[int] = []
        self.etag: str | None = '"one"'
        self.understands_ranges = True
        self.content_type = "application/octet-stream"
        self.says_length = True
        self.pause = 0.0
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str = "/data.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        shelf, asked = self.server, self.headers.get("Range")
        shelf.asked.append((self.path, asked))
        if self.path not in shelf.files:
            self.send_error(404)
            return
        time.sleep(shelf.pause)
        content, start = shelf.files[self.path], 0
        same = self.headers.get("If-Range") in (None, shelf.etag)
        if asked and shelf.understands_ranges and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start < len(content) else 416)
            last = f"{start}-{len(content) - 1}" if start < len(content) else "*"
            self.send_header("Content-Range", f"bytes {last}/{len(content)}")
        else:
            self.send_response(200)
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        if shelf.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Type", shelf.content_type)
        self.end_headers()
        stop = start + shelf.cuts.pop(0) if shelf.cuts else len(content)
        with contextlib.suppress(ConnectionError):  # a client may have read enough
            self.wfile.write(content[start:stop])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "*")
    server = Shelf()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "official" / "set"


def kept(folder: Path) -> list[str]:
    """Return whatever lies under the official folder, but locks."""
    root = folder.parent
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return sorted(path.relative_to(root).as_posix() for path in files)


def remote(*urls: str, checksum: str | None = CHECKSUM, size: int | None = None) -> RemoteFile:
    return RemoteFile("data.bin", urls, checksum, size)


def test_a_file_is_fetched_once(shelf: Shelf, folder: Path) -> None:
    for _ in range(2):
        assert fetch(remote(shelf.url()), folder) == folder / "data.bin"
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert shelf.asked == [("/data.bin", None)]
    assert kept(folder) == ["set/data.bin"]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(shelf: Shelf, folder: Path) -> None:
    shelf.cuts = [300_000, 300_000]
    said: list[str] = []
    fetch(remote(shelf.url()), folder, said.append)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert [asked for _, asked in shelf.asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert any("after 300,000 bytes; going on from there" in line for line in said)


def test_a_later_call_goes_on_where_an_earlier_one_was(shelf: Shelf, folder: Path) -> None:
    shelf.cuts = [500_000, 0]
    with pytest.raises(TaskError, match=r"cannot fetch data\.bin"):
        fetch(remote(shelf.url()), folder)
    assert not folder.exists()
    shelf.asked.clear()
    fetch(remote(shelf.url()), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert shelf.asked == [("/data.bin", "bytes=500000-")]


def test_another_version_on_the_server_is_not_glued_to_the_old_one(shelf: Shelf, folder: Path) -> None:
    shelf.cuts = [500_000, 0]
    with pytest.raises(TaskError):
        fetch(remote(shelf.url(), checksum=None), folder)
    shelf.files["/data.bin"], shelf.etag = CONTENT[::-1], '"two"'
    fetch(remote(shelf.url(), checksum=None), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT[::-1]


def test_without_a_version_a_transfer_begins_anew(shelf: Shelf, folder: Path) -> None:
    shelf.etag, shelf.cuts = None, [500_000]
    with pytest.raises(TaskError):
        fetch(remote(shelf.url(), checksum=None), folder)
    fetch(remote(shelf.url(), checksum=None), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert [asked for _, asked in shelf.asked] == [None, None]


def test_a_server_without_ranges_sends_it_from_the_start(shelf: Shelf, folder: Path) -> None:
    shelf.understands_ranges, shelf.cuts = False, [500_000, len(CONTENT)]
    fetch(remote(shelf.url()), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT


def test_what_was_whole_when_the_process_died_is_not_fetched_again(shelf: Shelf, folder: Path) -> None:
    shelf.cuts = [500_000, 0]
    with pytest.raises(TaskError):
        fetch(remote(shelf.url()), folder)
    [part] = (folder.parent / WORKSHOP).rglob("*.part")
    part.write_bytes(CONTENT)
    fetch(remote(shelf.url()), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert shelf.asked[-1] == ("/data.bin", f"bytes={len(CONTENT)}-")


def test_a_part_longer_than_the_file_is_thrown_away(shelf: Shelf, folder: Path) -> None:
    shelf.cuts = [500_000, 0]
    with pytest.raises(TaskError):
        fetch(remote(shelf.url()), folder)
    [part] = (folder.parent / WORKSHOP).rglob("*.part")
    part.write_bytes(CONTENT + b"more")
    fetch(remote(shelf.url()), folder)
    assert (folder / "data.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_and_is_said(shelf: Shelf, folder: Path) -> None:
    shelf.files["/data.bin"] = b"x" + CONTENT[1:]
    with pytest.raises(TaskError, match=r"not the published checksum sha256:") as refusal:
        fetch(remote(shelf.url()), folder)
    assert str(folder) in str(refusal.value)
    assert kept(folder) == []


def test_the_next_mirror_is_asked(shelf: Shelf, folder: Path) -> None:
    shelf.files["/wrong.bin"] = b"something else"
    said: list[str] = []
    urls = (shelf.url("/missing"), shelf.url("/wrong.bin"), shelf.url())
    fetch(remote(*urls), folder, said.append)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert [path for path, _ in shelf.asked] == ["/missing", "/wrong.bin", "/data.bin"]
    assert "data.bin: it answered 404 Not Found" in said
    assert kept(folder) == ["set/data.bin"]


def test_without_a_network_each_address_is_named_with_its_reason(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    nowhere, closed = "http://data.invalid/data.bin", "http://127.0.0.1:1/data.bin"
    with pytest.raises(TaskError) as refusal:
        fetch(remote(nowhere, closed, "htp://data.bin", shelf.url("/gone")), folder)
    lines = str(refusal.value).splitlines()
    assert lines[0] == "cannot fetch data.bin:"
    assert lines[1] == f"  {nowhere}: its host is not found; is there a network?"
    assert lines[2].startswith(f"  {closed}: ")
    assert "refused" in lines[2]
    assert lines[3].startswith("  htp://data.bin: ")
    assert lines[4].endswith("it answered 404 Not Found")
    assert str(folder) in lines[5]
    assert kept(folder) == []


def test_a_server_that_falls_silent_is_given_up(shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", (0.2, 0.2))
    stop = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda self: stop.wait(5))
    with pytest.raises(TaskError, match="it does not answer"):
        fetch(remote(shelf.url()), folder)
    stop.set()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"content_type": "text/html; charset=utf-8"}, "it sent a web page and not the file"),
        ({"says_length": False}, "does not say how long the file is"),
    ],
)
def test_what_cannot_be_told_whole_is_refused(
    shelf: Shelf, folder: Path, change: dict[str, object], complaint: str
) -> None:
    for name, value in change.items():
        setattr(shelf, name, value)
    with pytest.raises(TaskError, match=complaint):
        fetch(remote(shelf.url(), checksum=None), folder)
    assert kept(folder) == []


def test_another_size_than_the_published_one_is_refused(shelf: Shelf, folder: Path) -> None:
    with pytest.raises(TaskError, match="it has 1,024,000 bytes, but the published file has 1,024,001"):
        fetch(remote(shelf.url(), checksum=None, size=len(CONTENT) + 1), folder)


def test_a_file_that_is_there_but_wrong_is_fetched_anew(shelf: Shelf, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(b"half")
    said: list[str] = []
    fetch(remote(shelf.url()), folder, said.append)
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert said[0].startswith("data.bin is sha256:")


def test_a_file_that_nobody_offers_is_an_error_that_says_where_to_put_it(folder: Path) -> None:
    with pytest.raises(TaskError, match="nobody offers it for download any more") as refusal:
        fetch(remote(), folder)
    assert str(folder) in str(refusal.value)


def test_two_processes_fetch_once(shelf: Shelf, folder: Path) -> None:
    shelf.pause = 1.0  # long enough for all of them to come while it is under way
    start = multiprocessing.get_context("spawn")
    fetchers = [start.Process(target=fetch, args=(remote(shelf.url()), folder)) for _ in range(3)]
    for fetcher in fetchers:
        fetcher.start()
    for fetcher in fetchers:
        fetcher.join(30)
    assert [fetcher.exitcode for fetcher in fetchers] == [0, 0, 0]
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert shelf.asked == [("/data.bin", None)]


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "official").write_text("a file where a folder should be")
    with pytest.raises(TaskError, match="set ARENA_DATA to a folder that you can write to"):
        fetch(remote(shelf.url()), tmp_path / "official" / "set")


def test_a_full_disk_is_said_before_the_transfer(shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("attention_arena.fetching.shutil.disk_usage", lambda path: free)
    with pytest.raises(TaskError, match="1,024,000 bytes are to come, and 1,000 are free"):
        fetch(remote(shelf.url()), folder)
