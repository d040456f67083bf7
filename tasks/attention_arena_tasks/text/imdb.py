"""Reads the IMDb reviews (Maas et al. 2011) as published: `aclImdb/{train,test}/{pos,neg}/<id>_<rating>.txt`.

The unlabelled reviews and whatever else lies beside these four folders are left alone. Order is never an archive's or
a folder's: within a class, reviews are ordered by a hash of their name, and the two classes alternate, so that the
first reviews of a split are a fair sample of it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attention_arena.archives import members
from attention_arena.datasets import Inspection, locate
from attention_arena.passages import digest
from attention_arena.task import TaskError

NAME = "imdb"
ARCHIVE = "aclImdb_v1.tar.gz"
CLASSES = ("neg", "pos")
SPLITS = ("train", "test")
PER_CLASS = 12_500
"""Reviews of each class in each split of the release."""
CONTENT = "e7fea9dc7ba7fadd65961e6adb8e7d18fb6ccd9abd6bdb858e601ef0bddc3660"
"""SHA-256 of the release's 50,000 names and reviews (`content_digest`)."""
HELD_OUT = 10
"""One in so many training reviews is held out for validation."""
RATINGS = {"neg": range(1, 5), "pos": range(7, 11)}
"""Stars of each class; reviews in between are not in the data set."""
PLACE = re.compile(r"(?:^|/)(train|test)/(neg|pos)/([^/]+\.txt)$")
FILE = re.compile(r"(\d{1,9})_(\d{1,9})\.txt$", re.ASCII)
WAY_OUT = "Fetch it again (`arena data get imdb`), or leave `source` out for the stand-in"


class Review(NamedTuple):
    """One labelled review."""

    split: str
    label: str
    number: int
    rating: int
    text: bytes

    @property
    def name(self) -> str:
        """Path below `aclImdb`."""
        return f"{self.split}/{self.label}/{self.number}_{self.rating}.txt"


def read(path: Path, advance: Callable[[int], object] = lambda n: None) -> list[Review]:
    """Return all labelled reviews of an archive or a folder, or raise TaskError with what is wrong with it.

    `advance` is told of every file that was read.
    """
    reviews, problems = _scan(path, advance)
    if problems:
        more = f" ({len(problems) - 1} more such problems)" if len(problems) > 1 else ""
        raise TaskError(f"{problems[0]}{more}. {WAY_OUT}")
    return reviews


def inspect(path: Path) -> Inspection:
    """Say what an archive or a folder is."""
    reviews, problems = _scan(path)
    kept = Counter(f"{review.split}/{review.label}" for review in reviews)
    counts = {f"{split}/{label}": kept[f"{split}/{label}"] for split in SPLITS for label in CLASSES}
    if not problems:
        problems = [
            f"{path}: {name} has {count:,} reviews, the release has {PER_CLASS:,}"
            for name, count in counts.items()
            if count != PER_CLASS
        ]
    complete = not problems and is_official(reviews)
    if not problems and not complete:
        problems = [f"{path}: the counts are the release's, but names or reviews are not"]
    return Inspection("aclImdb, one file for each review" if reviews else "", counts, tuple(problems), complete)


def is_official(reviews: Sequence[Review]) -> bool:
    """Whether these are exactly the release's labelled reviews."""
    return len(reviews) == len(SPLITS) * len(CLASSES) * PER_CLASS and content_digest(reviews) == CONTENT


def content_digest(reviews: Iterable[Review]) -> str:
    """Return the SHA-256 over the reviews' names and texts, in an order of their own."""
    total = hashlib.sha256()
    for review in sorted(reviews, key=lambda review: (review.split, review.label, review.number)):
        total.update(f"{review.name} {len(review.text)}\n".encode())
        total.update(review.text)
    return total.hexdigest()


def find(path: Path) -> Path:
    """Return the archive, or the folder that has `train` and `test`; raises TaskError where nothing is there."""
    place = locate(NAME, path, Path())
    inner = place / "aclImdb"
    return inner if not (place / "train").is_dir() and (inner / "train").is_dir() else place


def stamp(place: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of an archive, or of every labelled review in a folder."""
    files = [place]
    if place.is_dir():
        files += sorted(file for split in SPLITS for label in CLASSES for file in (place / split / label).glob("*.txt"))
    try:
        seen = [(str(file), file.stat()) for file in files]
    except OSError as error:
        raise TaskError(
            f"cannot read {error.filename}: {error.strerror}. Check the path and its permissions"
        ) from error
    return [(str(place.resolve()), 0, 0), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in seen)]


def in_order(reviews: Iterable[Review]) -> list[Review]:
    """Return reviews by hash of their name within a class, the classes in turns."""
    rank: Counter[str] = Counter()
    ranked: list[tuple[int, str, Review]] = []
    for review in sorted(reviews, key=lambda review: digest(review.name)):
        ranked.append((rank[review.label], review.label, review))
        rank[review.label] += 1
    return [review for _, _, review in sorted(ranked, key=lambda entry: entry[:2])]


def hold_out(reviews: Sequence[Review]) -> tuple[list[Review], list[Review]]:
    """Return training reviews in two parts: those to train on, and the last tenth of each class by number.

    Neighbours in number review the same film, so most films of a class stay in one part. A text that occurs twice is
    never held out, so that nothing in the second part is in the first. Raises TaskError where too few are left.
    """
    times = Counter(review.text for review in reviews)
    held: set[Review] = set()
    for label in CLASSES:
        alone = sorted(
            (review for review in reviews if review.label == label and times[review.text] == 1),
            key=lambda review: review.number,
        )
        n_held = max(1, sum(review.label == label for review in reviews) // HELD_OUT)
        if len(alone) < n_held + 1:
            raise TaskError(
                f"train/{label} has {len(alone)} reviews that occur once, too few to hold {n_held} out: "
                "set `validation: test`, or give more of them"
            )
        held.update(alone[-n_held:])
    return [review for review in reviews if review not in held], [review for review in reviews if review in held]


def _scan(path: Path, advance: Callable[[int], object] = lambda n: None) -> tuple[list[Review], list[str]]:
    """Return what can be read, and every problem with its place."""
    found: dict[tuple[str, str, int], str] = {}
    roots: dict[str, str] = {}
    reviews: list[Review] = []
    problems: list[str] = []
    place = path
    try:
        place = find(path)
        for member in members(place, _is_review):
            advance(1)
            review = _review(member.name, member.content)
            root = "/".join(member.name.split("/")[:-3])
            roots.setdefault(root, member.name)
            if isinstance(review, str):
                problems.append(f"{place}, {member.name}: {review}")
            elif root != next(iter(roots)):
                beside = next(iter(roots.values()))
                problems.append(f"{place}, {member.name}: not below the folder of {beside}; keep one copy of the files")
            elif review[:3] in found:
                problems.append(f"{place}, {member.name}: the same split, class and number as {found[review[:3]]}")
            else:
                found[review[:3]] = member.name
                reviews.append(review)
    except TaskError as error:
        problems.append(str(error))
    if not problems:
        empty = [f"{split}/{label}" for split in SPLITS for label in CLASSES if not _has(reviews, split, label)]
        problems += [
            f"{place}: no reviews {name}/<number>_<rating>.txt; expected them as in {ARCHIVE}" for name in empty
        ]
    return reviews, problems


def _has(reviews: Iterable[Review], split: str, label: str) -> bool:
    return any(review.split == split and review.label == label for review in reviews)


def _is_review(name: str) -> bool:
    return PLACE.search(name) is not None and not PurePosixPath(name).name.startswith(".")


def _review(name: str, content: bytes) -> Review | str:
    """Return the review of a file, or what is wrong with it."""
    place = PLACE.search(name)
    assert place is not None
    split, label, file = place.groups()
    parts = FILE.match(file)
    if parts is None:
        return "expected a name of the form <number>_<rating>.txt"
    number, rating = int(parts[1]), int(parts[2])
    if rating not in RATINGS[label]:
        stars = RATINGS[label]
        return f"a review in {label} has {stars[0]} to {stars[-1]} stars, but this one has {rating}"
    if not content:
        return "the review is empty"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return Review(split, label, number, rating, content)
