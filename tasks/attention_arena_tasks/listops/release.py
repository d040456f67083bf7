"""Reads ListOps as the Long Range Arena publishes it: `basic_train.tsv`, `basic_val.tsv`, `basic_test.tsv`.

They may lie in a folder, unpacked or copied, or still in the release's archive, which is then read as a stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from attention_arena.archives import Stream, streams
from attention_arena.datasets import Inspection
from attention_arena.prepared import progress
from attention_arena.splits import ExampleSplit
from attention_arena.task import TaskError
from attention_arena_tasks.listops.expressions import N_CLASSES, evaluate, parse

FILES = {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
COUNTS = {"train": 96_000, "validation": 2_000, "test": 2_000}
LAYOUTS = ("", "listops-1000", "lra_release/listops-1000", "lra_release/lra_release/listops-1000")
"""Where the archive keeps the files, seen from wherever it was unpacked."""
HEADER = b"Source\tTarget"
LONGEST_LINE = 2**20
"""Bytes; an expression of 2,000 symbols, with all its parentheses, has about 14,000."""


class Copy(NamedTuple):
    """One of the three files: the layout and split it belongs to, how messages name it, and the file."""

    layout: str
    split: str
    name: str
    stream: Stream


def read(path: Path, max_length: int) -> dict[str, ExampleSplit]:
    """Return the splits of the first layout that has all three files, every label checked, or raise TaskError.

    A folder is searched in the order of `LAYOUTS`, an archive in its own order and no further than necessary.
    """
    found: dict[str, dict[str, ExampleSplit]] = {}
    for copy in _copies(path):
        found.setdefault(copy.layout, {})[copy.split] = read_split(copy.stream, copy.name, max_length)
        if len(found[copy.layout]) == len(FILES):
            return {split: found[copy.layout][split] for split in FILES}
    wanted, places = ", ".join(FILES.values()), ", ".join(layout or "." for layout in LAYOUTS)
    there = "; ".join(f"{layout or '.'} has {', '.join(splits)} only" for layout, splits in found.items())
    raise TaskError(
        f"no ListOps files at {path.absolute()}: expected {wanted} in one of {places}{f' ({there})' if there else ''}. "
        "Give `path` the Long Range Arena's release or the folder it was unpacked to, or leave `source` at `generated`"
    )


def fingerprint(path: Path) -> list[object]:
    """Return what changes when the files at `path` do, without reading them."""
    files = [path]
    if path.is_dir():
        files = [file for layout in LAYOUTS for name in FILES.values() if (file := path / layout / name).is_file()]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def inspect(path: Path) -> Inspection:
    """Return what a folder or archive has of ListOps; every line is read."""
    found: dict[str, dict[str, ExampleSplit | None]] = {}
    problems: list[str] = []
    try:
        for copy in _copies(path):
            try:
                split = read_split(copy.stream, copy.name)
            except TaskError as error:
                problems.append(str(error))
                split = None
            found.setdefault(copy.layout, {})[copy.split] = split
    except (TaskError, OSError) as error:
        problems.append(str(error))
    if not found:
        return Inspection("", {}, (*problems, f"none of {', '.join(FILES.values())} at {path}"))
    layout = max(found, key=lambda each: len(found[each]))
    splits = found[layout]
    counts = {name: 0 if (split := splits.get(name)) is None else split.n_examples for name in FILES}
    problems += [f"{name} is missing in {layout or path}" for split, name in FILES.items() if split not in splits]
    problems += [
        f"{FILES[name]} has {counts[name]:,} examples, the release {COUNTS[name]:,}"
        for name in FILES
        if splits.get(name) is not None and counts[name] != COUNTS[name]
    ]
    problems += _differences(found, layout) + _repeats(splits)
    place = f" in {layout}" if layout else ""
    return Inspection(f"Long Range Arena's ListOps files{place}", counts, tuple(problems), counts == COUNTS)


def read_split(stream: Stream, name: str, max_length: int | None = None) -> ExampleSplit:
    """Return the examples of a file, every label checked against the expression's value, or raise TaskError."""
    tokens, lengths, targets = [], [0], []
    number = 0
    with progress(stream.size, f"listops: {PurePosixPath(stream.name).name}", "B") as done:
        while line := stream.file.readline(LONGEST_LINE):
            number += 1
            done.update(len(line))
            row = line.rstrip(b"\r\n")
            if number == 1:
                if row != HEADER:
                    raise _damaged(name, number, f"expected the header 'Source<TAB>Target', got {row[:40]!r}")
                continue
            try:
                expression, target = _example(row, max_length)
            except ValueError as error:
                raise _damaged(name, number, str(error)) from error
            tokens.append(expression)
            lengths.append(len(expression))
            targets.append(target)
    if not targets:
        raise _damaged(name, 1, "the file has no examples")
    return ExampleSplit(np.concatenate(tokens), np.cumsum(lengths), np.array(targets, dtype=np.uint8))


def _copies(path: Path) -> Iterator[Copy]:
    """Yield whichever of the files are there, in every layout; each is to be read before the next."""
    by_name = {name: split for split, name in FILES.items()}
    if not path.is_dir():
        for stream in streams(path, lambda name: _layout(name) in LAYOUTS and PurePosixPath(name).name in by_name):
            split = by_name[PurePosixPath(stream.name).name]
            yield Copy(_layout(stream.name), split, f"{path}: {stream.name}", stream)
        return
    for layout in LAYOUTS:
        for name, split in by_name.items():
            file = path / layout / name
            if file.is_file():
                try:
                    opened = file.open("rb")
                except OSError as error:
                    raise TaskError(f"cannot read {file}: {error.strerror}. Check its permissions") from error
                with opened:
                    yield Copy(layout, split, str(file), Stream(name, file.stat().st_size, opened))


def _layout(name: str) -> str:
    return "" if "/" not in name else str(PurePosixPath(name).parent)


def _example(row: bytes, max_length: int | None) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], int]:
    """Return the tokens and the class of a line; ValueError says what is wrong with it."""
    fields = row.split(b"\t")
    if len(fields) != 2:
        raise ValueError(f"expected an expression, a tab and a class, got {len(fields)} fields")
    if not fields[1].isdigit() or int(fields[1]) >= N_CLASSES:
        raise ValueError(f"expected a class from 0 to {N_CLASSES - 1}, got {fields[1][:20]!r}")
    tokens, target = parse(fields[0]), int(fields[1])
    if max_length is not None and len(tokens) >= max_length:
        raise ValueError(f"{len(tokens)} symbols, but max_length is {max_length}: raise max_length")
    value = evaluate(tokens)
    if value != target:
        raise ValueError(f"the class is {target}, but the expression's value is {value}")
    return tokens, target


def _damaged(name: str, line: int, detail: str) -> TaskError:
    return TaskError(f"{name}, line {line}: {detail}")


def _differences(found: Mapping[str, Mapping[str, ExampleSplit | None]], layout: str) -> list[str]:
    """Return in which files the other copies that are there differ from those in `layout`."""
    return [
        f"{FILES[split]} in {other or '.'} is not the one in {layout or '.'}"
        for other, splits in found.items()
        if other != layout
        for split, theirs in splits.items()
        if theirs and (ours := found[layout].get(split)) and ours.content_hash != theirs.content_hash
    ]


def _repeats(splits: Mapping[str, ExampleSplit | None]) -> list[str]:
    """Return how many expressions stand more than once, in one split or in two; the release's are distinct."""
    met: set[bytes] = set()
    total = 0
    for split in splits.values():
        if split is not None:
            total += split.n_examples
            bounds = zip(split.offsets[:-1].tolist(), split.offsets[1:].tolist(), strict=True)
            met.update(hashlib.blake2b(split.tokens[a:b].tobytes(), digest_size=16).digest() for a, b in bounds)
    return [f"{total - len(met):,} expressions stand more than once"] if total > len(met) else []
