"""Reads ListOps as the Long Range Arena publishes it: `basic_train.tsv`, `basic_val.tsv`, `basic_test.tsv`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attention_arena.prepared import progress
from attention_arena.splits import ExampleSplit
from attention_arena.task import TaskError
from attention_arena_tasks.listops.expressions import N_CLASSES, evaluate, parse

FILES = {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
COUNTS = {"train": 96_000, "validation": 2_000, "test": 2_000}
LAYOUTS = ("", "listops-1000", "lra_release/listops-1000", "lra_release/lra_release/listops-1000")
"""Where the archive keeps the files, seen from wherever it was unpacked."""
HEADER = b"Source\tTarget"


def locate(path: Path) -> dict[str, Path]:
    """Return the three files below `path`, or raise TaskError."""
    path = path.expanduser()
    for layout in LAYOUTS:
        files = {split: path / layout / name for split, name in FILES.items()}
        if all(file.is_file() for file in files.values()):
            return files
    wanted, places = ", ".join(FILES.values()), ", ".join(layout or "." for layout in LAYOUTS)
    raise TaskError(
        f"no ListOps files at {path.absolute()}: expected {wanted} in one of {places}. "
        "Unpack the Long Range Arena's release there, or leave `path` out to generate the task"
    )


def read(file: Path, max_length: int) -> ExampleSplit:
    """Return the examples of a file, every label checked against the expression's value, or raise TaskError."""
    tokens, lengths, targets = [], [0], []
    with file.open("rb") as lines, progress(file.stat().st_size, f"listops: {file.name}", "B") as done:
        for number, line in enumerate(lines, start=1):
            done.update(len(line))
            row = line.rstrip(b"\r\n")
            if number == 1:
                if row != HEADER:
                    raise _damaged(file, number, f"expected the header 'Source<TAB>Target', got {row[:40]!r}")
                continue
            try:
                expression, target = _example(row, max_length)
            except ValueError as error:
                raise _damaged(file, number, str(error)) from error
            tokens.append(expression)
            lengths.append(len(expression))
            targets.append(target)
    if not targets:
        raise _damaged(file, 1, "the file has no examples")
    return ExampleSplit(np.concatenate(tokens), np.cumsum(lengths), np.array(targets, dtype=np.uint8))


def _example(row: bytes, max_length: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], int]:
    """Return the tokens and the class of a line; ValueError says what is wrong with it."""
    fields = row.split(b"\t")
    if len(fields) != 2:
        raise ValueError(f"expected an expression, a tab and a class, got {len(fields)} fields")
    if not fields[1].isdigit() or int(fields[1]) >= N_CLASSES:
        raise ValueError(f"expected a class from 0 to {N_CLASSES - 1}, got {fields[1][:20]!r}")
    tokens, target = parse(fields[0]), int(fields[1])
    if len(tokens) >= max_length:
        raise ValueError(f"{len(tokens)} symbols, but max_length is {max_length}: raise max_length")
    value = evaluate(tokens)
    if value != target:
        raise ValueError(f"the class is {target}, but the expression's value is {value}")
    return tokens, target


def _damaged(file: Path, line: int, detail: str) -> TaskError:
    return TaskError(f"{file}, line {line}: {detail}")
