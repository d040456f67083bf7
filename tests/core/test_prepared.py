import os
import threading
import time
from pathlib import Path

import pytest

from attention_arena.prepared import data_folder, prepared
from attention_arena.task import TaskError


class Maker:
    """Writes two files and counts how often it was asked to."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls = 0
        self.seconds = seconds

    def __call__(self, target: Path) -> None:
        self.calls += 1
        assert list(target.iterdir()) == []
        (target / "a.bin").write_bytes(b"12345")
        time.sleep(self.seconds)
        (target / "below").mkdir()
        (target / "below" / "b.bin").write_bytes(b"67")


def test_data_is_made_once(tmp_path: Path) -> None:
    maker = Maker()
    first, second = prepared(tmp_path, "key", maker), prepared(tmp_path, "key", maker)
    assert first == second == tmp_path / "key"
    assert maker.calls == 1
    assert (first / "below" / "b.bin").read_bytes() == b"67"


def test_those_who_ask_at_once_share_one_making(tmp_path: Path) -> None:
    maker = Maker(seconds=0.1)
    found: list[bytes] = []

    def ask() -> None:
        found.append((prepared(tmp_path, "key", maker) / "below" / "b.bin").read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"67"] * 5
    assert maker.calls == 1


def test_a_making_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half.bin").write_bytes(b"1")
        raise TaskError("no such corpus")

    with pytest.raises(TaskError, match="no such corpus"):
        prepared(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert prepared(tmp_path, "key", Maker()).is_dir()


def test_what_a_killed_process_left_half_made_is_not_read(tmp_path: Path) -> None:
    for name in (".key.making", "key"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(b"123")
    maker = Maker()
    assert (prepared(tmp_path, "key", maker) / "a.bin").read_bytes() == b"12345"
    assert maker.calls == 1


@pytest.mark.parametrize("content", [b"1234", b"12346", None], ids=["shorter", "changed", "missing"])
def test_a_damaged_file_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    maker = Maker()
    file = prepared(tmp_path, "key", maker) / "a.bin"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert (prepared(tmp_path, "key", maker) / "a.bin").read_bytes() == b"12345"
    assert maker.calls == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["key"]


@pytest.mark.parametrize("manifest", ["", "[]", '{"a.bin": 5}', '{"a.bin": {"bytes": 5}}'])
def test_a_damaged_manifest_is_made_again(tmp_path: Path, manifest: str) -> None:
    maker = Maker()
    (prepared(tmp_path, "key", maker) / "manifest.json").write_text(manifest)
    prepared(tmp_path, "key", maker)
    assert maker.calls == 2


def test_a_folder_that_cannot_be_made_is_a_task_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TaskError, match="ARENA_DATA"):
        prepared(tmp_path / "file", "key", Maker())


@pytest.mark.parametrize("key", ["", "..", "a/b", ".hidden"])
def test_a_key_that_is_no_file_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        prepared(tmp_path, key, Maker())


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARENA_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("ARENA_DATA", os.path.join("~", "x"))  # noqa: PTH118 - a tilde as a user writes it
    assert data_folder() == Path.home() / "x"
    monkeypatch.delenv("ARENA_DATA")
    assert data_folder().name == "attention-arena"
