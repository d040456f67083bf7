"""What an image gives away to readers that see no shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.image.cifar import N_CLASSES
from attention_arena_tasks.image.grey import Pixels

AT_ONCE = 1000
"""Images that are widened at a time."""

Labels = npt.NDArray[np.uint8]


def trivial_baselines(train: tuple[Labels, Pixels], test: tuple[Labels, Pixels]) -> dict[str, float]:
    """Return accuracies in percent on `test` of rules fitted on `train`, each labels (N,) and pixels (N, T)."""
    labels, pixels = test
    return {
        "majority class": _percent(labels == np.bincount(train[0], minlength=N_CLASSES).argmax()),
        "commonest class at its mean brightness": _percent(labels == _by_brightness(train)[_brightness(pixels)]),
        "nearest class mean": _percent(labels == _nearest(class_means(*train), pixels)),
    }


def class_means(labels: Labels, pixels: Pixels) -> npt.NDArray[np.float64]:
    """Return the mean image of each class (C, T); that of a class without images is infinitely far away."""
    sums = np.zeros((N_CLASSES, pixels.shape[1]))
    for start in range(0, len(labels), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        is_class = labels[rows] == np.arange(N_CLASSES)[:, None]  # (C, n)
        sums += is_class.astype(np.float64) @ pixels[rows]
    counts = np.bincount(labels, minlength=N_CLASSES)[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1e6)


def _nearest(means: npt.NDArray[np.float64], pixels: Pixels) -> npt.NDArray[np.int64]:
    """Return the class (N,) whose mean is nearest in squared distance, of which the image's own part is left out."""
    squares = (means**2).sum(axis=1)
    parts = [
        (squares - 2 * (pixels[start : start + AT_ONCE] @ means.T)).argmin(axis=1)
        for start in range(0, len(pixels), AT_ONCE)
    ]
    return np.concatenate(parts)


def _brightness(pixels: Pixels) -> npt.NDArray[np.int64]:
    mean: npt.NDArray[np.int64] = pixels.sum(axis=1, dtype=np.int64) // pixels.shape[1]
    return mean


def _by_brightness(train: tuple[Labels, Pixels]) -> npt.NDArray[np.int64]:
    """Return for each brightness from 0 to 255 the class that is commonest there; where none is, commonest of all."""
    labels, pixels = train
    counts = np.bincount(_brightness(pixels) * N_CLASSES + labels, minlength=256 * N_CLASSES).reshape(256, N_CLASSES)
    overall = int(counts.sum(axis=0).argmax())
    return np.where(counts.any(axis=1), counts.argmax(axis=1), overall)


def _percent(right: npt.NDArray[np.bool_]) -> float:
    return 100.0 * float(right.mean())
