"""The language model's options and data: bytes of a corpus, in three streams.

The vocabulary is the 256 byte values and nothing else: streams need no padding.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field

from attention_arena.objectives import LanguageModeling
from attention_arena.prepared import prepared
from attention_arena.splits import StreamSplit
from attention_arena.task import Source, TaskData, TaskError, TaskNeeds
from attention_arena.variant import Options
from attention_arena_tasks.language_model.baselines import N_BYTES, trivial_baselines
from attention_arena_tasks.language_model.corpus import (
    SHARES,
    Caps,
    Files,
    folder_files,
    split_file,
    split_files,
    standard_library,
)

STANDARD_LIBRARY = "standard-library"
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class LanguageModelOptions(Options):
    """Options of the language model."""

    corpus: str = Field(
        STANDARD_LIBRARY,
        min_length=1,
        description="standard-library: Python's own sources; or the path of a text file, which is cut 90/5/5 by "
        "position, or of a folder, whose files are dealt out 90/5/5",
    )
    patterns: tuple[str, ...] = Field(("**/*",), min_length=1, description="glob patterns of a folder's files")
    length: int = Field(256, ge=2, description="bytes in a segment; the model's length")
    train_bytes: int | None = Field(None, ge=2, description="use the first bytes of the training split only")
    validation_bytes: int | None = Field(None, ge=2, description="use the first bytes of the validation split only")
    test_bytes: int | None = Field(None, ge=2, description="use the first bytes of the test split only")
    tied: bool = Field(False, description="the head's weight is the embedding's")


def needs(options: LanguageModelOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(LanguageModeling.requires, options.length, causal=True)


def load(options: LanguageModelOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    caps = {"train": options.train_bytes, "validation": options.validation_bytes, "test": options.test_bytes}
    if options.corpus == STANDARD_LIBRARY:
        ready, source = _load_standard_library(caps, folder)
    else:
        ready, source = _load_path(Path(options.corpus).expanduser(), options.patterns, caps, folder)
    train, validation, test = (StreamSplit.open(ready, name, options.length) for name in SHARES)
    return TaskData(
        vocab_size=N_BYTES,
        max_length=options.length,
        objective=LanguageModeling(N_BYTES, unit="byte", tied=options.tied),
        train=train,
        validation=validation,
        test=test,
        source=source,
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )


def _load_standard_library(caps: Caps, folder: Path) -> tuple[Path, Source]:
    files = standard_library()
    if not files.names:
        raise TaskError(
            f"no .py sources of Python's standard library at {files.root}: "
            "give `corpus` the path of a text file or folder instead"
        )
    version = platform.python_version()
    description = f"sources of the Python {version} standard library, {len(files.names)} files without tests"
    ready = _prepare(f"standard-library-{version}", files, caps, folder, lambda: split_files(files, caps))
    return ready, Source("stand-in", description, "PSF-2.0")


def _load_path(path: Path, patterns: tuple[str, ...], caps: Caps, folder: Path) -> tuple[Path, Source]:
    if path.is_dir():
        files = folder_files(path, patterns)
        if not files.names:
            raise TaskError(f"no file in {path.absolute()} matches {', '.join(patterns)}: set `patterns`")
        description = f"{len(files.names)} files of folder {path.absolute().name}, dealt out 90/5/5 by name"
        return _prepare("folder", files, caps, folder, lambda: split_files(files, caps)), Source("user", description)
    if not path.exists():
        raise TaskError(f"no corpus at {path.absolute()}: expected a text file or a folder, or {STANDARD_LIBRARY!r}")
    one = Files(path.absolute().parent, (path.name,))
    description = f"bytes of {path.name}, cut 90/5/5 by position"
    return _prepare("file", one, caps, folder, lambda: split_file(path, caps)), Source("user", description)


def _prepare(kind: str, files: Files, caps: Caps, folder: Path, split: Callable[[], dict[str, bytes]]) -> Path:
    """Return the folder with the streams of `split`, known by the files' sizes and times and by the caps."""
    seen = [[name, *_stamp(files.root / name)] for name in files.names]
    asked = json.dumps([FORMAT, kind, str(files.root.resolve()), seen, dict(caps)])
    key = f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"

    def make(target: Path) -> None:
        streams = {name: np.frombuffer(text, dtype=np.uint8) for name, text in split().items()}
        for name, stream in streams.items():
            if len(stream) < 2:
                raise TaskError(
                    f"the {name} split has {len(stream)} bytes, but needs 2 or more, from {len(files.names)} files at "
                    f"{files.root}. A folder's files are dealt out whole, so give more of them, or one longer file"
                )
            StreamSplit(stream, length=1).save(target, name)
        baselines = trivial_baselines(streams["train"], streams["test"])
        (target / "baselines.json").write_text(json.dumps(baselines, indent=1))

    return prepared(folder / "language_model", key, make)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}. Check the path and its permissions") from error
    return status.st_size, status.st_mtime_ns
