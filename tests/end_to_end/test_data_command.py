"""`arena data` as a user calls it, with ListOps, and with toy tasks whose data a server on this machine offers."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import Field

from attention_arena.archives import members
from attention_arena.catalogue import Catalogue
from attention_arena.commands import main
from attention_arena.datasets import DataSet, Inspection, RemoteFile, locate
from attention_arena.objectives import Classification
from attention_arena.task import Task, TaskData, TaskError, TaskNeeds
from attention_arena.variant import Options
from attention_arena_tasks import listops
from attention_arena_tasks.listops.data import ListOpsOptions

LISTOPS = [
    f"--option={text}" for text in ("min_length=10", "max_length=40", "n_train=30", "n_validation=10", "n_test=10")
]
LETTERS = {"train.txt": b"abcabc", "test.txt": b"abc"}


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Arena = Callable[..., Answer]


def unwrapped(answer: Answer) -> str:
    return " ".join(answer.out.split())


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class LettersOptions(Options):
    source: str = "official"
    path: Path | None = None
    length: int = Field(8, ge=1)


def inspect(path: Path) -> Inspection:
    """Letters lie in a tar archive; six and three of them are official."""
    try:
        counts = {member.name: len(member.content) for member in members(path)}
    except TaskError as error:
        return Inspection("", {}, (str(error),))
    missing = [f"{name} is missing" for name in LETTERS if name not in counts]
    complete = counts == {name: len(content) for name, content in LETTERS.items()}
    return Inspection("archive of letters", {**dict.fromkeys(LETTERS, 0), **counts}, tuple(missing), complete)


def load_letters(options: LettersOptions, folder: Path) -> TaskData:
    locate("letters", options.path, folder)
    raise TaskError("letters cannot be learned")


def letters(*urls: str, content: bytes = b"", **changes: Any) -> Task:
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if content else None
    file = RemoteFile("letters.tar", urls, checksum, len(content) or None)
    data_set = DataSet("letters", "Letters in two files.", "CC0-1.0", "http://letters.invalid", (file,), inspect)
    needs = TaskNeeds(Classification(2).requires, 8, causal=False)
    return Task("spell", 1, "Spell.", "none", LettersOptions, lambda _: needs, load_letters, datasets=(data_set,))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARENA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "data"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def register(*tasks: Task) -> None:
        catalogue = Catalogue(tasks={task.name: task for task in tasks})
        monkeypatch.setattr("attention_arena.catalogue.load_catalogue", lambda *_, **__: catalogue)

    register(*listops.register_tasks())
    return register


@pytest.fixture
def arena(data: Path, install: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Arena:
    def call(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["arena", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        code = ending.value.code
        return Answer(code if isinstance(code, int) else 0, *capsys.readouterr())

    return call


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which its files are offered."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class TestList:
    def test_official_data_are_listed_with_what_is_known_of_them(self, arena: Arena, data: Path) -> None:
        answer = arena("list")
        for words in ("  lra\n", "listops (source: official)", "not fetched", "size not published", "Apache-2.0"):
            assert words in answer.out
        assert f"data folder: {data} (ARENA_DATA names another)" in answer.out
        assert "nothing is prepared yet" in answer.out
        assert max(map(len, answer.out.splitlines())) <= 100 + len(str(data))
        assert not data.exists()

    def test_what_is_prepared_is_listed_with_its_size(self, arena: Arena, data: Path) -> None:
        arena("prepare", "listops", *LISTOPS)
        [folder] = [each for each in (data / "listops").iterdir() if each.is_dir()]
        [line] = [line for line in arena("list").out.splitlines() if folder.name in line]
        assert line.split()[0] == f"listops/{folder.name}"
        assert line.split()[-1] in ("B", "KiB")
        (folder / "manifest.json").write_text("{broken")
        assert f"listops/{folder.name}    damaged" in arena("list").out

    def test_where_a_data_set_is_is_said(self, arena: Arena, install: Callable[..., None], data: Path) -> None:
        install(letters("http://letters.invalid/letters.tar", content=b"abc"))
        place = data / "official" / "letters"
        assert "where not fetched" in unwrapped(arena("list"))
        place.mkdir(parents=True)
        (place / "unpacked.txt").write_text("a")
        assert "put there by hand; `arena data verify letters` checks it" in arena("list").out.replace(
            "\n" + " " * 15, " "
        )
        (place / "letters.tar").write_text("ab")
        assert "letters.tar has another size: damaged" in unwrapped(arena("list"))
        (place / "letters.tar").write_text("abc")
        assert f"present at {place} file" in unwrapped(arena("list"))


class TestGet:
    def test_a_data_set_is_fetched_and_then_present_and_complete(
        self, arena: Arena, install: Callable[..., None], served: tuple[Path, str], data: Path
    ) -> None:
        folder, address = served
        content = packed(LETTERS)
        (folder / "letters.tar").write_bytes(content)
        install(letters(f"{address}/gone.tar", f"{address}/letters.tar", content=content))
        answer = arena("get", "letters")
        assert answer.code == 0, answer.err
        assert str(data / "official" / "letters" / "letters.tar") in answer.out
        assert hashlib.sha256(content).hexdigest() in answer.out
        assert "letters.tar: it answered 404" in answer.err
        assert "present at" in arena("list").out
        checked = arena("verify", "letters")
        assert (checked.code, checked.out.splitlines()[-1]) == (0, "letters is complete")

    def test_without_a_published_checksum_the_files_own_is_said(
        self, arena: Arena, install: Callable[..., None], served: tuple[Path, str]
    ) -> None:
        (served[0] / "letters.tar").write_bytes(b"abc")
        install(letters(f"{served[1]}/letters.tar"))
        answer = arena("get", "letters")
        assert f"sha256:{hashlib.sha256(b'abc').hexdigest()}, and no checksum is published" in answer.out

    def test_what_cannot_be_had_is_one_message_with_ways_out(
        self, arena: Arena, install: Callable[..., None], data: Path
    ) -> None:
        install(letters("http://letters.invalid/letters.tar", "http://127.0.0.1:1/letters.tar"))
        answer = arena("get", "letters")
        assert answer.code == 2
        message = answer.err[answer.err.index("error: ") :]
        assert message.startswith("error: letters: cannot fetch letters.tar:\n")
        assert "http://letters.invalid/letters.tar: its host is not found" in message
        assert "http://127.0.0.1:1/letters.tar: " in message
        assert f"Fetch it by hand into {data / 'official' / 'letters'}, or let the task's option `path`" in message
        assert not list(data.rglob("letters.tar/*"))
        assert not (data / "official" / "letters").exists()

    def test_a_name_that_is_not_known_fetches_nothing(self, arena: Arena, data: Path) -> None:
        answer = arena("get", "lraa")
        assert (answer.code, "did you mean 'lra'" in answer.err) == (2, True)
        assert not data.exists()

    def test_stopping_says_how_to_go_on(self, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("attention_arena.fetching.fetch", stop)
        answer = arena("get", "lra")
        assert (answer.code, answer.err) == (130, "stopped; the same command goes on from here\n")


class TestPrepare:
    def test_a_task_is_prepared_and_described(self, arena: Arena, data: Path) -> None:
        answer = arena("prepare", "listops", *LISTOPS)
        assert answer.code == 0, answer.err
        options = ListOpsOptions(min_length=10, max_length=40, n_train=30, n_validation=10, n_test=10)
        prepared = listops.LISTOPS.load(options, data)
        [folder] = [each for each in (data / "listops").iterdir() if each.is_dir()]
        for words in (
            "listops min_length=10 max_length=40 n_train=30 n_validation=10 n_test=10",
            "generated: generated as the Long Range Arena does",
            f"where      {folder}",
            f"train               30  sha256 {prepared.train.content_hash}",
            f"test                10  sha256 {prepared.test.content_hash}",
            f"data hash  {prepared.data_hash}",
        ):
            assert words in answer.out
        assert answer.out.count("baseline   ") == len(prepared.trivial_baselines)

    @pytest.mark.parametrize(
        ("option", "complaint"),
        [
            ("max_length=long", "max_length: expected an integer ≥ 5, got 'long'"),
            ("max_length=", "max_length: expected an integer ≥ 5, got null"),
            ("max_length='2000'", "max_length: expected an integer ≥ 5, got '2000'"),
            ("max_length=501", "max_length: max_length must exceed min_length (500) by 2 at least"),
            ("max_lenth=10", "max_lenth: unknown listops option 'max_lenth'; did you mean 'max_length'"),
            ("path=lra", "path: path is read with `source: official` only, got source 'generated'"),
            ("max_length", "--option must be KEY=VALUE, got 'max_length'"),
            ("=3", "--option must be KEY=VALUE, got '=3'"),
            ("seed=1\nn_test: 3", "--option must be KEY=VALUE"),
            ("seed=[", "--option has 1 problem:"),
        ],
    )
    def test_a_wrong_option_is_refused_as_in_a_study(
        self, arena: Arena, data: Path, option: str, complaint: str
    ) -> None:
        answer = arena("prepare", "listops", "--option", option)
        assert answer.code == 2
        assert complaint in answer.err
        assert not data.exists()

    def test_all_wrong_options_are_named_at_once(self, arena: Arena) -> None:
        answer = arena("prepare", "listops", "--option", "seed=-1", "--option", "n_test=0", "--option", "x=1")
        assert "--option has 3 problems:" in answer.err
        assert "stands twice" in arena("prepare", "listops", "--option=seed=1", "--option=seed=2").err

    def test_data_that_cannot_be_made_are_one_message(
        self, arena: Arena, install: Callable[..., None], tmp_path: Path
    ) -> None:
        install(letters())
        assert "error: task spell: letters is not at" in arena("prepare", "spell").err
        answer = arena("prepare", "spell", "--option", f"path={tmp_path}")
        assert (answer.code, answer.err) == (2, "error: task spell: letters cannot be learned\n")

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["lraa"], "unknown study 'lraa'; did you mean 'lra'"),
            (["lstops"], "unknown task 'lstops'; did you mean 'listops'"),
            (["smoke", "--option", "seed=1"], "--option is for a task, and smoke is a study"),
            (["listops", "--profile", "full"], "--profile is for a study, and listops is a task"),
        ],
    )
    def test_what_is_neither_task_nor_study_is_named(self, arena: Arena, arguments: list[str], complaint: str) -> None:
        answer = arena("prepare", *arguments)
        assert answer.code == 2
        assert complaint in answer.err


class TestVerify:
    @pytest.mark.parametrize(
        ("files", "code", "verdict"),
        [
            (LETTERS, 0, "letters is complete"),
            ({**LETTERS, "test.txt": b"ab"}, 1, "letters is usable, but not the official release"),
            ({"train.txt": b"abcabc"}, 2, "letters is not usable"),
        ],
    )
    def test_the_exit_code_says_what_it_is_good_for(
        self,
        arena: Arena,
        install: Callable[..., None],
        tmp_path: Path,
        files: dict[str, bytes],
        code: int,
        verdict: str,
    ) -> None:
        install(letters())
        (tmp_path / "mine.tar").write_bytes(packed(files))
        answer = arena("verify", "letters", tmp_path / "mine.tar")
        assert (answer.code, answer.out.splitlines()[-1]) == (code, verdict)
        assert "layout     archive of letters" in answer.out
        assert ("problem    test.txt is missing" in answer.out) == (code == 2)

    def test_an_archive_with_another_checksum_is_not_the_official_release(
        self, arena: Arena, install: Callable[..., None], tmp_path: Path
    ) -> None:
        content = packed(LETTERS)
        install(letters(content=content))
        archive = tmp_path / "letters.tar"
        archive.write_bytes(content)
        assert arena("verify", "letters", archive).code == 0
        archive.write_bytes(content[:-1] + b"\1")  # in the padding, where only the checksum shows it
        answer = arena("verify", "letters", archive)
        assert answer.code == 1
        assert "the published file sha256:" in unwrapped(answer)

    def test_damage_is_not_usable(self, arena: Arena, install: Callable[..., None], tmp_path: Path) -> None:
        install(letters())
        (tmp_path / "letters.tar").write_bytes(packed(LETTERS)[:700])
        answer = arena("verify", "letters", tmp_path / "letters.tar")
        assert answer.code == 2
        assert "damaged or cut short" in unwrapped(answer)

    def test_a_release_of_two_tasks_is_usable_if_one_of_them_can_use_it(
        self, arena: Arena, install: Callable[..., None], tmp_path: Path
    ) -> None:
        first = letters()
        blind = replace(first.datasets[0], inspect=lambda path: Inspection("", {}, ("no digits",)))
        install(first, replace(first, name="sum", datasets=(blind,)))
        (tmp_path / "letters.tar").write_bytes(packed(LETTERS))
        answer = arena("verify", "letters", tmp_path / "letters.tar")
        assert answer.code == 1
        assert "for task spell:" in answer.out
        assert "problem    no digits" in answer.out

    def test_nothing_there_is_one_message(self, arena: Arena, tmp_path: Path) -> None:
        assert "nothing at" in arena("verify", "lra", tmp_path / "nowhere").err
        assert "fetch it with `arena data get lra`" in arena("verify", "lra").err


def test_the_installed_command_prepares_a_study(tmp_path: Path) -> None:
    """In a process of its own, and with what is installed."""
    (tmp_path / "two.yaml").write_text(
        "name: two\nvariants: [softmax]\n"
        "tasks: [{name: listops, options: {min_length: 9, max_length: 30, n_train: 9, n_validation: 9, n_test: 9}}]\n"
    )
    command = [sys.executable, "-m", "attention_arena", "data", "prepare", "two.yaml"]
    environment = {**os.environ, "ARENA_DATA": str(tmp_path / "data")}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("listops min_length=9 max_length=30")


def test_help_of_the_data_commands_imports_nothing_heavy() -> None:
    script = """
import sys
sys.argv = ["arena", "data", "get", "--help"]
from attention_arena.commands import main
try:
    main()
except SystemExit:
    pass
sys.exit(", ".join(name for name in ("torch", "requests", "pooch", "tarfile") if name in sys.modules))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.stderr.strip() == ""
    assert "Fetch official data sets" in answer.stdout
