"""Where official data lie, what a published file is held against, and what an inspection comes to."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attention_arena.catalogue import Catalogue
from attention_arena.datasets import (
    DataSet,
    Inspection,
    RemoteFile,
    checksum_fault,
    checksum_of,
    files_of,
    locate,
    place_of,
)
from attention_arena.errors import ConfigError, TaskError
from attention_arena.task import Task
from attention_arena.variant import Options

FILE = RemoteFile("a.txt", ("http://here/a.txt",), f"sha256:{hashlib.sha256(b'abc').hexdigest()}", 3)
SET = DataSet("letters", "Letters.", "CC0-1.0", "http://here", (FILE,), lambda path: Inspection("", {}))


def pack(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"), io.BytesIO())
    return path


def task(name: str, *data_sets: DataSet) -> Task:
    def unused(*arguments: Any) -> Any:
        raise AssertionError("nothing is loaded here")

    return Task(name, 1, "Toy.", "none", Options, unused, unused, datasets=data_sets)


class TestLocate:
    def test_a_path_comes_before_what_was_fetched(self, tmp_path: Path) -> None:
        pack(place_of("letters", tmp_path) / "a.tar.gz")
        own = tmp_path / "own"
        own.mkdir()
        assert locate("letters", own, tmp_path) == own

    def test_what_was_fetched_is_found_without_a_path(self, tmp_path: Path) -> None:
        place = place_of("letters", tmp_path)
        place.mkdir(parents=True)
        (place / "a.txt").write_text("a")
        assert locate("letters", None, tmp_path) == place

    @pytest.mark.parametrize("name", ["letters.tar.gz", "letters.gz", "download"])
    def test_a_folder_with_one_archive_stands_for_it(self, tmp_path: Path, name: str) -> None:
        archive = pack(tmp_path / "folder" / name)
        (tmp_path / "folder" / ".hidden").write_text("")
        assert locate("letters", tmp_path / "folder", tmp_path) == archive

    def test_a_folder_with_more_is_itself(self, tmp_path: Path) -> None:
        pack(tmp_path / "folder" / "a.tar.gz")
        pack(tmp_path / "folder" / "b.tar.gz")
        assert locate("letters", tmp_path / "folder", tmp_path) == tmp_path / "folder"

    def test_nothing_at_a_path_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"nothing at .*nowhere: `path` must name a folder or archive of letters"):
            locate("letters", tmp_path / "nowhere", tmp_path)

    @pytest.mark.parametrize("empty_folder", [False, True])
    def test_what_was_not_fetched_is_an_error_with_ways_out(self, tmp_path: Path, empty_folder: bool) -> None:
        if empty_folder:
            place_of("letters", tmp_path).mkdir(parents=True)
        with pytest.raises(TaskError, match=r"`arena data get letters`, or give `path`.*, or leave `source`"):
            locate("letters", None, tmp_path)

    def test_a_folder_that_cannot_be_read_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(TaskError, match=r"cannot read .*: Permission denied"):
            locate("letters", tmp_path, tmp_path)


class TestChecksum:
    def test_the_published_file_has_no_fault(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"abc")
        assert checksum_of(tmp_path / "a.txt") == FILE.checksum
        assert checksum_fault(tmp_path / "a.txt", FILE) is None
        assert checksum_fault(tmp_path / "a.txt", FILE._replace(checksum=str(FILE.checksum).upper())) is None
        assert checksum_fault(tmp_path / "a.txt", FILE._replace(checksum=None, size=None)) is None
        md5 = FILE._replace(checksum="md5:900150983cd24fb0d6963f7d28e17f72")  # RFC 1321's own example
        assert checksum_fault(tmp_path / "a.txt", md5) is None

    def test_another_content_or_size_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"abd")
        assert f"the published file {FILE.checksum}" in (checksum_fault(tmp_path / "a.txt", FILE) or "")
        (tmp_path / "a.txt").write_bytes(b"abcd")
        assert checksum_fault(tmp_path / "a.txt", FILE) == "a.txt has 4 bytes, the published file 3"


@pytest.mark.parametrize(
    ("inspection", "usable"),
    [
        (Inspection("files", {"train": 1, "test": 2}), True),
        (Inspection("files", {"train": 1, "test": 0}), False),
        (Inspection("", {"train": 1}), False),
        (Inspection("files", {}), False),
        (Inspection("files", {}, complete=True), True),
    ],
)
def test_what_can_be_used_has_a_layout_and_lacks_nothing(inspection: Inspection, usable: bool) -> None:
    assert inspection.usable is usable


class TestCatalogue:
    def test_data_sets_of_all_tasks_are_found_by_name(self) -> None:
        digits = replace(SET, name="digits")
        catalogue = Catalogue(tasks={each.name: each for each in (task("spell", SET), task("sum", digits, SET))})
        assert catalogue.data_sets() == {"digits": {"sum": digits}, "letters": {"spell": SET, "sum": SET}}
        assert catalogue.data_set("letters") == {"spell": SET, "sum": SET}

    def test_an_unknown_data_set_is_an_error_that_names_the_known(self) -> None:
        with pytest.raises(ConfigError, match="unknown data set 'leters'; did you mean 'letters'"):
            Catalogue(tasks={"spell": task("spell", SET)}).data_set("leters")

    def test_one_release_of_several_tasks_has_all_their_files(self) -> None:
        more = replace(SET, files=(FILE, FILE._replace(name="b.txt")))
        assert [file.name for file in files_of("letters", {"spell": SET, "sum": more})] == ["a.txt", "b.txt"]

    def test_two_meanings_of_one_file_are_an_error(self) -> None:
        other = replace(SET, files=(FILE._replace(size=4),))
        with pytest.raises(TaskError, match=r"letters: tasks spell and sum mean different files by 'a\.txt'"):
            files_of("letters", {"spell": SET, "sum": other})
