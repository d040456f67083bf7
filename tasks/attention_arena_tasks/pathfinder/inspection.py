"""Says what a folder or archive has of Pathfinder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from attention_arena.archives import Member, members
from attention_arena.datasets import Inspection
from attention_arena.task import TaskError
from attention_arena_tasks.pathfinder.png import size_of
from attention_arena_tasks.pathfinder.recipe import CONTOUR_LENGTH, LOOKS
from attention_arena_tasks.pathfinder.release import (
    EMPTY,
    IMAGE,
    N_IMAGES,
    ImageSet,
    images_of,
    is_official,
    labels_of,
    lines_of,
    prefixes,
    survey,
)

MOST_PROBLEMS = 20
"""Of one set; more are counted."""


def inspect(path: Path, sizes: Sequence[int] = tuple(LOOKS)) -> Inspection:
    """Return which sets of images are at `path`, every image read."""
    counts: dict[str, int] = {}
    problems: list[str] = []
    right: set[str] = set()
    try:
        path = path.expanduser()
        sets = _sets(path, sizes, counts, problems)
        for name, (found, is_right, its_problems) in _look(sets).items():
            counts[name] = found
            problems += its_problems[:MOST_PROBLEMS]
            if len(its_problems) > MOST_PROBLEMS:
                problems.append(f"{name}: {len(its_problems) - MOST_PROBLEMS:,} more problems")
            if is_right:
                right.add(name)
    except (TaskError, OSError) as error:
        problems.append(str(error))
        counts = dict.fromkeys(counts, 0)
        right = set()
    expected = [_name(size, difficulty) for size in sizes for difficulty in CONTOUR_LENGTH]
    if missing := [name for name in expected if name not in counts]:
        problems.append(f"not there: {', '.join(missing)}")
    layout = "Long Range Arena's Pathfinder images" if counts else ""
    return Inspection(layout, counts, tuple(problems), right == set(expected))


def inspect_path_x(path: Path) -> Inspection:
    """Return what of Path-X is at `path`."""
    return inspect(path, (128,))


def _name(size: int, difficulty: str) -> str:
    return f"pathfinder{size}/{difficulty}"


def _sets(path: Path, sizes: Sequence[int], counts: dict[str, int], problems: list[str]) -> list[ImageSet]:
    """Return one copy of each set that is there, and note in `counts` and `problems` those that cannot be read."""
    places = {
        prefix: (size if f"pathfinder{size}" in prefix else None, difficulty if difficulty in prefix else None)
        for size in sizes
        for difficulty in CONTOUR_LENGTH
        for prefix in prefixes(size, difficulty)
    }
    found: dict[str, ImageSet] = {}
    for prefix, files in sorted(survey(path, places).items(), key=lambda item: -item[0].count("/")):
        size, difficulty = places[prefix]
        try:
            difficulty = _difficulty_of(path, files) if difficulty is None else difficulty
            size = _size_at(path, prefix) if size is None else size
            if size is None or size not in sizes or difficulty is None:
                raise TaskError(
                    f"{path}: {prefix or '.'} has metadata, but no images of a size and difficulty looked for"
                )
            name = _name(size, difficulty)
            if name in found:
                raise TaskError(f"{found[name].place} is read, and not the outer copy {prefix or '.'}")
            counts[name] = 0
            found[name] = ImageSet(path, prefix, size, difficulty, labels_of(path, files, difficulty))
        except TaskError as error:
            problems.append(str(error))
    return list(found.values())


def _size_at(path: Path, prefix: str) -> int | None:
    """Return the pixels along a side of the first image that says so."""
    if path.is_file():
        some = members(path, lambda name: name.startswith(prefix) and IMAGE.fullmatch(name[len(prefix) :]) is not None)
    else:
        some = members(path / prefix, lambda name: IMAGE.fullmatch(name) is not None)
    return next((size for _, content in islice(some, 100) if (size := size_of(content)) is not None), None)


def _difficulty_of(path: Path, files: Sequence[Member]) -> str | None:
    """Return the difficulty that the first line of metadata gives, by its contour length."""
    lines = lines_of(files[0].content, f"{path}: {files[0].name}") if files else []
    fields = lines[0].split() if lines else []
    by_length = {str(length): difficulty for difficulty, length in CONTOUR_LENGTH.items()}
    return by_length.get(fields[5]) if len(fields) > 5 else None


def _look(sets: Sequence[ImageSet]) -> dict[str, tuple[int, bool, list[str]]]:
    """Return each set's number of images, 0 if it is damaged, whether it is right, and what there is to say of it."""
    found: Counter[str] = Counter()
    ones: Counter[str] = Counter()
    empty: defaultdict[str, list[str]] = defaultdict(list)
    damage: defaultdict[str, list[str]] = defaultdict(list)
    for each, image, pixels in images_of(sets, lambda each, problem: damage[each.prefix].append(problem)):
        if pixels is None:
            empty[each.prefix].append(image)
        else:
            found[each.prefix] += 1
            ones[each.prefix] += each.labels[image]
    result = {}
    for each in sets:
        prefix, n_listed = each.prefix, len(each.labels)
        known = EMPTY.get((each.size, each.difficulty), ())
        problems = [
            f"{each.place}{image} is empty{', as it is in the release' if image in known else ''}"
            for image in sorted(empty[prefix])
        ]
        if n_listed != N_IMAGES:
            share = f"{ones[prefix]:,} of them connected"
            problems.append(f"{each.place} lists {n_listed:,} images, {share}; the release lists {N_IMAGES:,}")
        right = not damage[prefix] and is_official(each.size, each.difficulty, n_listed, sorted(empty[prefix]))
        n_good = 0 if damage[prefix] else found[prefix]
        result[_name(each.size, each.difficulty)] = n_good, right, damage[prefix] + problems
    return result
