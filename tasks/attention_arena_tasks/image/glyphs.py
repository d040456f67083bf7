"""Glyphs, a stand-in for CIFAR-10: ten kinds of strokes in 32 x 32 greys, askew, among clutter and noise.

Each image has one glyph, whose class is to be told, drawn with a random size, slant, place and thickness; a few short
strokes of the same kind that belong to no glyph; a random ground and contrast, and noise on every pixel. All draws and
all drawing are integer arithmetic, so that a seed gives the same bytes on every machine. Places are in eighths of a
pixel. Letters here: N images, S strokes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.image.grey import Pixels

SIDE = 32
UNIT = 8
"""Parts of a pixel."""
N_CLUTTER = 2
HEADER = 32
"""Raw words of an image that set its glyph, clutter and light; noise takes a byte a pixel more."""
NOISE_WORDS = SIDE * SIDE // 8
FINE = 32
"""Parts of a stroke's length, among which the point nearest to a pixel is sought."""

Integers = npt.NDArray[np.int32]
Points = tuple[tuple[int, int], ...]

GLYPHS: tuple[tuple[Points, ...], ...] = (
    (((0, -4), (0, 4)), ((-4, 0), (4, 0))),  # plus
    (((-4, -4), (4, 4)), ((-4, 4), (4, -4))),  # cross
    (((-4, -4), (4, -4), (4, 4), (-4, 4), (-4, -4)),),  # square
    (((0, -4), (4, 4), (-4, 4), (0, -4)),),  # triangle
    (((-4, -4), (4, -4), (-4, 4), (4, 4)),),  # zigzag
    (((-4, -4), (4, -4)), ((0, -4), (0, 4))),  # tee
    (((-4, -4), (-4, 4), (4, 4)),),  # corner
    (((-4, -4), (0, 0), (4, -4)), ((0, 0), (0, 4))),  # fork
    (((-4, -4), (-4, 4)), ((4, -4), (4, 4)), ((-4, 0), (4, 0))),  # ladder
    (((-4, -4), (4, -4), (4, 4), (-2, 4), (-2, 0)),),  # hook
)
"""By class, lines through points of a square from -4 to 4, x to the right and y down."""


class Strokes(NamedTuple):
    """Straight strokes from `start` to `stop` (N, S, 2), x before y."""

    start: Integers
    stop: Integers


class Drawings(NamedTuple):
    """`labels` (N,) and `pixels` (N, 1024)."""

    labels: npt.NDArray[np.uint8]
    pixels: Pixels


def draw(bits: np.random.PCG64, n_images: int) -> Drawings:
    """Return the next images of a stream."""
    words = bits.random_raw(n_images * (HEADER + NOISE_WORDS)).reshape(n_images, -1)
    numbers = _Numbers(words[:, :HEADER])
    labels = numbers.between(0, len(GLYPHS) - 1)
    strokes = _join(_askew(numbers, TEMPLATES, labels), _clutter(numbers))
    ground, contrast = numbers.between(0, 63), numbers.between(96, 160)
    radius = numbers.between(6, 12)
    ink = _ink(strokes, radius)  # (N, 32, 32), 0 to 256
    noise = words[:, HEADER:].astype("<u8").view(np.uint8).reshape(ink.shape).astype(np.int32)
    light = ground[:, None, None] + (contrast[:, None, None] * ink >> 8) + (noise >> 4)
    return Drawings(labels.astype(np.uint8), light.astype(np.uint8).reshape(n_images, SIDE * SIDE))


def reduce(pixels: Pixels, side: int) -> Pixels:
    """Return images (N, 1024) at a shorter side (N, side^2): means of square blocks, rounded to the nearest."""
    step = SIDE // side
    blocks = pixels.reshape(-1, side, step, side, step).sum(axis=(2, 4), dtype=np.int32)
    reduced: Pixels = ((blocks + step**2 // 2) // step**2).astype(np.uint8).reshape(len(pixels), -1)
    return reduced


class _Numbers:
    """Takes an integer in a range for each image (N,) from one word after the other."""

    def __init__(self, words: npt.NDArray[np.uint64]) -> None:
        self.words = iter(words.T)

    def between(self, low: int, high: int) -> Integers:
        drawn = (next(self.words) >> np.uint64(32)) * np.uint64(high - low + 1) >> np.uint64(32)
        number: Integers = low + drawn.astype(np.int32)
        return number

    def point(self, low: int, high: int) -> Integers:
        return np.stack([self.between(low, high), self.between(low, high)], axis=1)  # (N, 2)


def _templates() -> Strokes:
    """Return the strokes of every class (C, S, 2), the last of each repeated up to the same number."""
    pairs = [[pair for line in lines for pair in itertools.pairwise(line)] for lines in GLYPHS]
    most = max(map(len, pairs))
    full = np.array([each + each[-1:] * (most - len(each)) for each in pairs], dtype=np.int32)
    return Strokes(full[:, :, 0], full[:, :, 1])


TEMPLATES = _templates()


def _askew(numbers: _Numbers, templates: Strokes, labels: Integers) -> Strokes:
    """Return each image's glyph, stretched to 12 to 22 pixels a side, slanted and moved; some reach over the edge.

    With these ranges the nearest class mean tells as much of a glyph as it tells of CIFAR-10's images, 26 %.
    """
    width, height = numbers.between(12, 22), numbers.between(12, 22)  # parts of a pixel for each of 8 steps
    lean, tilt = numbers.between(-6, 6), numbers.between(-6, 6)
    centre = numbers.point(SIDE * UNIT // 2 - 6 * UNIT, SIDE * UNIT // 2 + 6 * UNIT)
    matrix = np.stack([np.stack([width, lean], axis=1), np.stack([tilt, height], axis=1)], axis=1)  # (N, 2, 2)

    def place(points: Integers) -> Integers:
        moved = (points[labels][:, :, None, :] * matrix[:, None]).sum(axis=-1, dtype=np.int32)
        placed: Integers = moved + centre[:, None]
        return placed

    return Strokes(place(templates.start), place(templates.stop))


def _clutter(numbers: _Numbers) -> Strokes:
    """Return short strokes anywhere."""
    starts = np.stack([numbers.point(0, SIDE * UNIT - 1) for _ in range(N_CLUTTER)], axis=1)
    spans = np.stack([numbers.point(-5 * UNIT, 5 * UNIT) for _ in range(N_CLUTTER)], axis=1)
    return Strokes(starts, starts + spans)


def _join(first: Strokes, second: Strokes) -> Strokes:
    return Strokes(*(np.concatenate(both, axis=1) for both in zip(first, second, strict=True)))


def _ink(strokes: Strokes, radius: Integers) -> Integers:
    """Return how much of each pixel (N, 32, 32) is inked, 0 to 256, by strokes of the given `radius` (N,).

    The edge is a slope of a pixel's width: full ink half a pixel inside, none half a pixel outside.
    """
    centres = np.arange(SIDE, dtype=np.int32) * UNIT + UNIT // 2
    squared = np.full((len(radius), SIDE, SIDE), np.iinfo(np.int32).max, dtype=np.int32)
    for s in range(strokes.start.shape[1]):
        np.minimum(squared, _squared_distance(strokes.start[:, s], strokes.stop[:, s], centres), out=squared)
    inside, outside = ((radius + offset * UNIT // 2) ** 2 * FINE**2 for offset in (-1, 1))
    return _part(outside[:, None, None] - squared, outside - inside, 256)


def _squared_distance(start: Integers, stop: Integers, centres: Integers) -> Integers:
    """Return the squared distance (N, 32, 32) of each pixel from a stroke (N, 2), in 1/FINE of a part, squared."""
    span = stop - start
    x = centres - start[:, :1]  # (N, 32)
    y = centres - start[:, 1:]
    along = (x * span[:, :1])[:, None, :] + (y * span[:, 1:])[:, :, None]
    share = _part(along, (span**2).sum(axis=1, dtype=np.int32), FINE)
    away_x = (x * FINE)[:, None, :] - share * span[:, :1, None]
    away_y = (y * FINE)[:, :, None] - share * span[:, 1:, None]
    squared: Integers = away_x**2 + away_y**2
    return squared


def _part(values: Integers, whole: Integers, parts: int) -> Integers:
    """Return which of `parts` of `whole` (N,) each value (N, 32, 32) has reached: 0 below 0, `parts` from `whole` on.

    It multiplies by an inverse that is rounded up, which is some ten times as fast as to divide: a value may reach a
    part a little early.
    """
    whole = np.maximum(whole, 1)
    inverse = (parts << 20) // whole.astype(np.int64) + 1
    within = np.minimum(np.maximum(values, 0), whole[:, None, None])
    part: Integers = (within * inverse.astype(np.int32)[:, None, None]) >> 20
    return part
