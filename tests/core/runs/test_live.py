from __future__ import annotations

import subprocess
from typing import Any

import pytest

from attention_arena.runs.live import LivePage
from attention_arena.runs.progress import Lines


class Writer:
    """A page's writer that ends when it is told to."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.waited = self.killed = False

    def poll(self) -> int | None:
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        self.waited = True
        if self.status is None and not self.killed:
            raise subprocess.TimeoutExpired("report", timeout or 0)
        return self.status or 0

    def kill(self) -> None:
        self.killed = True


class Scene:
    """A page that is due every 30 s by a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.writers: list[Writer] = []
        self.page = LivePage(Lines(self.said.append), self.write, every=30.0, clock=lambda: self.now)

    def write(self) -> Any:
        self.writers.append(Writer())
        return self.writers[-1]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.page.step("run", 1, 2)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_page_is_written_before_any_run(scene: Scene) -> None:
    scene.page.begin(2, 0)
    assert len(scene.writers) == 1


def test_a_page_follows_a_run_but_not_sooner_than_it_may(scene: Scene) -> None:
    scene.page.begin(2, 0)
    scene.writers[0].status = 0
    scene.page.started("run")
    scene.pass_time(29)
    assert len(scene.writers) == 1
    scene.pass_time(1)
    assert len(scene.writers) == 2


def test_nothing_is_written_when_nothing_happened(scene: Scene) -> None:
    scene.page.begin(2, 0)
    scene.writers[0].status = 0
    for _ in range(5):
        scene.pass_time(60)
    assert len(scene.writers) == 1


def test_two_pages_are_never_written_at_once(scene: Scene) -> None:
    scene.page.begin(2, 0)
    scene.page.started("run")
    scene.pass_time(300)
    assert len(scene.writers) == 1
    scene.writers[0].status = 0
    scene.pass_time(1)
    assert len(scene.writers) == 2


def test_a_page_that_fails_is_told_once_and_ends_nothing(scene: Scene) -> None:
    scene.page.begin(2, 0)
    for _ in range(3):
        scene.writers[-1].status = 1
        scene.page.started("run")
        scene.pass_time(60)
    assert [line for line in scene.said if "page" in line] == [
        "the page could not be written: it ended with exit status 1; `arena report` shows why"
    ]


@pytest.mark.parametrize("status", [130, -2])
def test_a_writer_that_ctrl_c_has_ended_is_no_failure(scene: Scene, status: int) -> None:
    scene.page.begin(2, 0)
    scene.writers[-1].status = status
    scene.page.started("run")
    assert not [line for line in scene.said if "page" in line]


def test_a_writer_that_cannot_start_ends_nothing() -> None:
    said: list[str] = []

    def write() -> Any:
        raise OSError("too many processes")

    page = LivePage(Lines(said.append), write)
    page.begin(1, 0)
    page.end()
    assert said == ["the page could not be written: too many processes"]


def test_the_end_waits_for_a_page_that_is_being_written(scene: Scene) -> None:
    scene.page.begin(1, 0)
    scene.page.end()
    assert scene.writers[0].waited
    assert scene.writers[0].killed
