"""What Pathfinder gives to readers that follow no snake: simple statistics of an image, and its pixels one by one.

If one of them is much better than chance, the labels leak. Each reader is fitted on the training images and scored on
the test ones. Letters here: N images, S size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from attention_arena.splits import ExampleSplit
from attention_arena_tasks.pathfinder.recipe import LOOKS
from attention_arena_tasks.pathfinder.stamps import Bytes, Integers

IMAGES_AT_ONCE = 256
ENOUGH = 20_000
"""Training images to fit on; more change nothing in the first decimal place."""
N_BINS = 20
BRIGHT = 96
STATISTICS = ("number of bright pixels", "mean grey", "distance between the markers", "markers' distance to the middle")

Labels = npt.NDArray[np.uint8]


def trivial_baselines(train: ExampleSplit, test: ExampleSplit, size: int) -> dict[str, float]:
    """Return accuracies in percent on `test` of readers fitted on `train`: name -> value."""
    n = min(train.n_examples, ENOUGH)
    fitting, scoring = np.asarray(train.targets[:n]), np.asarray(test.targets)
    commonest = int(2 * fitting.sum() > n)
    scores = {"majority class": 100.0 * float((scoring == commonest).mean())}
    seen, asked = (np.concatenate(list(_statistics(split, size, m))) for split, m in ((train, n), (test, len(scoring))))
    for k, name in enumerate(STATISTICS):
        guesses = _by_bins(seen[:, k], fitting, asked[:, k])
        scores[name] = 100.0 * float((guesses == scoring).mean())
    scores["nearest mean image"] = 100.0 * _nearest_mean(train, n, test)
    return scores


def _chunks(split: ExampleSplit, n: int) -> Iterator[Bytes]:
    """Yield the first n images (.., S * S), some at a time."""
    length = int(split.offsets[1])
    for start in range(0, n, IMAGES_AT_ONCE):
        stop = min(start + IMAGES_AT_ONCE, n)
        yield np.asarray(split.tokens[start * length : stop * length]).reshape(stop - start, length)


def _statistics(split: ExampleSplit, size: int, n: int) -> Iterator[Integers]:
    """Yield STATISTICS of the first n images (.., 4), some at a time."""
    for pixels in _chunks(split, n):
        bright = (pixels >= BRIGHT).sum(axis=1)
        grey = pixels.sum(axis=1, dtype=np.int64)
        first, second = _markers(pixels.reshape(-1, size, size), LOOKS[size].marker_radius)
        apart = ((first - second) ** 2).sum(axis=1)
        off = ((2 * first - size) ** 2).sum(axis=1) + ((2 * second - size) ** 2).sum(axis=1)
        yield np.stack([bright, grey, apart, off], axis=1)


def _markers(images: Bytes, radius: int) -> tuple[Integers, Integers]:
    """Return the middles, y and x (N, 2), of the brightest square as wide as a marker, and of the next one apart."""
    N, S, _ = images.shape
    width = max(radius, 2)
    corner = np.zeros((N, S + 1, S + 1), dtype=np.int64)
    corner[:, 1:, 1:] = images
    corner = corner.cumsum(axis=1).cumsum(axis=2)
    sums = (
        corner[:, width:, width:]
        - corner[:, :-width, width:]
        - corner[:, width:, :-width]
        + corner[:, :-width, :-width]
    )
    found = []
    axis = np.arange(sums.shape[1])
    for _ in range(2):
        best = sums.reshape(N, -1).argmax(axis=1)
        y, x = best // sums.shape[2], best % sums.shape[2]
        found.append(np.stack([y, x], axis=1) + width // 2)
        rows, columns = abs(axis - y[:, None]) < width, abs(axis - x[:, None]) < width
        sums[rows[:, :, None] & columns[:, None, :]] = -1
    return found[0], found[1]


def _by_bins(seen: Integers, labels: Labels, asked: Integers) -> Labels:
    """Return the commonest class, where it was fitted, of each value's bin; bins hold about equally many."""
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, N_BINS + 1)[1:-1], method="lower"))
    bins = np.searchsorted(edges, seen, side="right")
    ones = np.bincount(bins, weights=labels, minlength=len(edges) + 1)
    commonest = (2 * ones > np.bincount(bins, minlength=len(edges) + 1)).astype(np.uint8)
    return commonest[np.searchsorted(edges, asked, side="right")]


def _nearest_mean(train: ExampleSplit, n: int, test: ExampleSplit) -> float:
    """Return the share of test images that are nearest to their own class's mean image."""
    sums = np.zeros((2, int(train.offsets[1])), dtype=np.int64)
    counts = np.bincount(train.targets[:n], minlength=2)
    labels = np.asarray(train.targets)
    for i, pixels in enumerate(_chunks(train, n)):
        own = labels[i * IMAGES_AT_ONCE : i * IMAGES_AT_ONCE + len(pixels)]
        for label in (0, 1):
            sums[label] += pixels[own == label].sum(axis=0, dtype=np.int64)
    means = np.round(256 * sums / np.maximum(counts, 1)[:, None]).astype(np.int64)
    # The squared distances differ by a term linear in the image: no need for the distances themselves.
    direction, offset = means[1] - means[0], int((means[1] ** 2).sum() - (means[0] ** 2).sum())
    guesses = [2 * 256 * (pixels.astype(np.int64) @ direction) > offset for pixels in _chunks(test, test.n_examples)]
    return float((np.concatenate(guesses) == np.asarray(test.targets)).mean())
