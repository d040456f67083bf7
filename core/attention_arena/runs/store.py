"""A study's folder: specs, claims and records. Only the runner writes here; the child writes its own run's files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from attention_arena.errors import ConfigError
from attention_arena.runs.files import write_whole
from attention_arena.runs.record import RecordFile, StudyFile
from attention_arena.runs.spec import RunSpec


class Store:
    """`<results>/<study>/<profile>/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, study: StudyFile, specs: Sequence[RunSpec]) -> None:
        """Write `study.json` and every run's `spec.json`; raises ConfigError where the folder cannot be written."""
        try:
            for spec in specs:
                path = self.run_folder(spec.run) / "spec.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                content = spec.model_dump_json(indent=2)
                if not path.exists() or path.read_text() != content:
                    write_whole(path, content)
            write_whole(self.folder / "study.json", study.model_dump_json(indent=2))
        except OSError as error:
            raise ConfigError(f"cannot write results to {self.folder}: {error.strerror or error}") from error

    def run_folder(self, run: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / run

    def record(self, run: str) -> RecordFile | None:
        """Return a run's record, or None; a damaged one is set aside with a warning, so that the run is done again."""
        try:
            return self.read(run)
        except ValueError:
            path = self._record_path(run)
            aside = next(p for p in _numbered(path.with_name("record.damaged")) if not p.exists())
            path.replace(aside)
            warnings.warn(f"{path} was damaged; set aside as {aside.name}, the run is done again", stacklevel=2)
            return None

    def read(self, run: str) -> RecordFile | None:
        """Return a run's record, or None; raises ValueError for a damaged one, and changes nothing."""
        try:
            return RecordFile.model_validate_json(self._record_path(run).read_bytes())
        except FileNotFoundError:
            return None

    def write_record(self, run: str, file: RecordFile) -> None:
        """Write a run's record, whole or not at all."""
        write_whole(self._record_path(run), file.model_dump_json(indent=2))

    def _record_path(self, run: str) -> Path:
        return self.run_folder(run) / "record.json"

    @contextmanager
    def claim(self, run: str) -> Iterator[bool]:
        """Hold a run for this process; yields False where another one holds it.

        The lock is the operating system's: it falls when its holder dies, however it dies.
        """
        lock = FileLock(self.run_folder(run) / "claim.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def is_claimed(self, run: str) -> bool:
        """Whether some living process holds the run."""
        if not (self.run_folder(run) / "claim.lock").exists():
            return False
        with self.claim(run) as free:
            return not free

    def next_attempt(self, run: str) -> int:
        """Count one more attempt at a run and return its number, from 1."""
        path = self.run_folder(run) / "attempt"
        try:
            attempt = int(path.read_text()) + 1
        except (FileNotFoundError, ValueError):
            attempt = 1
        write_whole(path, str(attempt))
        return attempt


def _numbered(path: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield path.with_name(f"{path.name}.{number}.json")
        number += 1
