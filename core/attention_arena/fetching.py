"""Fetch published files: mirrors in turn, a broken transfer continued, checksums held, the final name given last.

pooch moves and checks files; it cannot continue a transfer, so the transfer itself is ours. What is under way lies in a
hidden folder beside the data sets' own (`WORKSHOP`), so that whatever has a file's name is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from filelock import FileLock, Timeout
from pooch import get_logger, retrieve  # type: ignore[import-untyped]
from tqdm import tqdm
from urllib3.exceptions import HTTPError as TransferError
from urllib3.exceptions import NameResolutionError

from attention_arena.datasets import RemoteFile, checksum_fault
from attention_arena.errors import TaskError

WORKSHOP = ".fetching"
ATTEMPTS = 6
"""Connections to one mirror, as long as each brings the file further."""
PAUSE = 1.0
"""Seconds before a mirror is asked again; doubled each time."""
PATIENCE = (15.0, 60.0)
"""Seconds until a mirror must have answered, and until it must send more."""
CHUNK = 2**18
Say = Callable[[str], None]


def fetch(file: RemoteFile, folder: Path, say: Say = lambda line: None) -> Path:
    """Return `folder/<file.name>`, fetched if it is not there as published; `say` is told what is going on.

    It runs in one process at a time, however many ask. A file that was broken off is continued where its mirror still
    has the same one. Raises TaskError, with the reason for each mirror, where none gives the file.
    """
    target = folder / file.name
    workshop = folder.parent / WORKSHOP / folder.name / file.name
    try:
        if _is_there(target, file):
            return target
        workshop.parent.mkdir(parents=True, exist_ok=True)
        with _alone(workshop.with_name(f".{file.name}.lock"), file, say):
            if not _is_there(target, file):
                if target.exists():
                    say(f"{checksum_fault(target, file)}; fetching it anew")
                fetched = _from_mirrors(file, workshop, folder, say)
                folder.mkdir(parents=True, exist_ok=True)
                fetched.replace(target)
                shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        raise TaskError(
            f"cannot write {target}: {error}. Make room or set ARENA_DATA to a folder that you can write to"
        ) from error
    return target


def _is_there(target: Path, file: RemoteFile) -> bool:
    return target.is_file() and checksum_fault(target, file) is None


@contextmanager
def _alone(lock: Path, file: RemoteFile, say: Say) -> Iterator[None]:
    waiting = FileLock(lock)
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        say(f"{file.name}: another process is fetching it; waiting for it to end")
        waiting.acquire()
    try:
        yield
    finally:
        waiting.release()


def _from_mirrors(file: RemoteFile, workshop: Path, folder: Path, say: Say) -> Path:
    """Return the file, whole and with its checksum, in the workshop."""
    get_logger().setLevel("WARNING")  # it would say in its own words what `say` is told
    workshop.mkdir(exist_ok=True)
    reasons = []
    for url in file.urls:
        mirror = _Mirror(url, workshop, file, say)
        say(f"{file.name}: fetching {url}")
        try:
            return Path(retrieve(url, file.checksum, file.name, workshop, downloader=mirror))
        except (requests.RequestException, TransferError, _UnlikePublishedError) as error:
            reasons.append((url, _reason(error)))
        # pooch's word for another checksum.
        except ValueError:
            mirror.forget()
            reasons.append((url, f"what it sent has not the published checksum {file.checksum}; it was thrown away"))
        say(f"{file.name}: {reasons[-1][1]}")
    tried = [f"  {url}: {reason}" for url, reason in reasons] or ["  nobody offers it for download any more"]
    way_out = f"Fetch it by hand into {folder}, or let the task's option `path` name where you have it"
    raise TaskError("\n".join([f"cannot fetch {file.name}:", *tried, way_out]))


class _UnlikePublishedError(Exception):
    """A mirror's answer cannot be the published file."""


class _Answer(NamedTuple):
    """What a mirror is about to send: bytes from `start` on, of `total` (None where it does not say)."""

    start: int
    total: int | None
    validator: str | None
    """Names the version of the file that the mirror has: a strong ETag, or a date."""


class _Mirror:
    """A downloader for pooch, which continues what an earlier one began."""

    def __init__(self, url: str, workshop: Path, file: RemoteFile, say: Say) -> None:
        self.url, self.file, self.say = url, file, say
        # Mirrors may have different files, so that one does not continue what another began.
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        self.part = workshop / f"{name}.part"
        self.notes = workshop / f"{name}.version"

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Put the whole file to `output_file`."""
        pause = PAUSE
        for left in reversed(range(ATTEMPTS)):
            before = self._begun()
            try:
                self._transfer(before)
                break
            except (requests.RequestException, TransferError) as error:
                got = self._begun()
                if got <= before or not left:
                    raise
                self.say(f"{self.file.name}: {_reason(error)} after {got:,} bytes; going on from there")
            time.sleep(pause)
            pause *= 2
        # Linked and not moved, so that whoever is killed while the checksum is computed has lost nothing.
        try:
            Path(output_file).unlink()
            os.link(self.part, output_file)
        except OSError:
            self.part.replace(output_file)

    def forget(self) -> None:
        """Begin anew next time."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def _begun(self) -> int:
        """Return how many bytes are there to go on from."""
        return self.part.stat().st_size if self.part.exists() and self.notes.exists() else 0

    def _transfer(self, begun: int) -> None:
        """Fetch what is missing. Raises RequestException or urllib3's HTTPError where that breaks off."""
        # Bytes must be those of the file, not packed for the journey: a range counts them.
        headers = {"Accept-Encoding": "identity"}
        if begun:
            headers |= {"Range": f"bytes={begun}-", "If-Range": self.notes.read_text()}
        with requests.get(self.url, headers=headers, stream=True, timeout=PATIENCE) as response:
            if begun and response.status_code == 416:
                if _total_of_range(response) != begun:
                    self.forget()
                    self._transfer(0)
                return
            response.raise_for_status()
            answer = _read_answer(response, begun)
            self._require_plausible(answer, response)
            with self.part.open("ab" if answer.start else "wb") as part, _bar(self.file, answer) as bar:
                self._note(answer)
                while chunk := response.raw.read(CHUNK, decode_content=False):
                    part.write(chunk)
                    bar.update(len(chunk))
        if answer.total is not None and self.part.stat().st_size != answer.total:
            raise TransferError("the connection was closed early")

    def _note(self, answer: _Answer) -> None:
        """Remember which version this is; without a name for it, it cannot be continued."""
        if answer.start:
            return
        if answer.validator is None:
            self.notes.unlink(missing_ok=True)
        else:
            self.notes.write_text(answer.validator)

    def _require_plausible(self, answer: _Answer, response: Any) -> None:
        expected, total = self.file.size, answer.total
        if expected is not None and total is not None and total != expected:
            raise _UnlikePublishedError(f"it has {total:,} bytes, but the published file has {expected:,}")
        if response.headers.get("Content-Type", "").startswith("text/html") and not self.file.name.endswith(".html"):
            raise _UnlikePublishedError("it sent a web page and not the file")
        if total is None and self.file.checksum is None and response.headers.get("Transfer-Encoding") != "chunked":
            raise _UnlikePublishedError("it does not say how long the file is, so whether all came could not be told")
        needed, free = (total or 0) - answer.start, shutil.disk_usage(self.part.parent).free
        if needed > free:
            raise OSError(f"{needed:,} bytes are to come, and {free:,} are free")


def _read_answer(response: Any, begun: int) -> _Answer:
    """Return what the mirror is about to send; from the beginning, unless it took up the range."""
    headers = response.headers
    etag = headers.get("ETag", "")
    validator = headers.get("Last-Modified") if etag.startswith("W/") or not etag else etag
    if response.status_code == 206:
        start = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if start != str(begun):
            raise TransferError(f"asked for bytes from {begun} on, it sent {headers.get('Content-Range')!r}")
        return _Answer(begun, _total_of_range(response), validator)
    length = headers.get("Content-Length", "")
    return _Answer(0, int(length) if length.isdigit() else None, validator)


def _total_of_range(response: Any) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _bar(file: RemoteFile, answer: _Answer) -> tqdm[Any]:
    return tqdm(
        total=answer.total,
        initial=answer.start,
        desc=file.name,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    )


def _reason(error: Exception) -> str:
    """Return in plain words why a mirror did not give the file."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answered {error.response.status_code} {error.response.reason}"
    nested = error
    while (deeper := _cause(nested)) is not None:
        nested = deeper
    if isinstance(nested, NameResolutionError):
        return "its host is not found; is there a network?"
    if "timed out" in str(nested).lower():
        return "it does not answer"
    words = str(nested).rpartition("Failed to establish a new connection: ")[2]
    return " ".join(words.split()) or type(nested).__name__


def _cause(error: BaseException) -> Exception | None:
    """Return what requests or urllib3 wrapped."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return inner if isinstance(inner, Exception) else None
