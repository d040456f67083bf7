"""Everything that is drawn, drawn once: a paddle in each of 1024 directions, the room that it takes up, and a marker.

A shape is set on a grid of subpixels, reduced with Lanczos' kernel of three lobes, and kept as a stamp. All tables are
integers: what trigonometry gives is rounded to far fewer digits than machines differ in, and what follows is exact, so
that a seed means the same pixels everywhere. Letters here: D directions, P pixels across a stamp, K pixels of a ring.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.recipe import SUBPIXELS, Look

DIRECTIONS = 1024
"""A full turn; direction 0 points along x, and a quarter turn later it points along y (down)."""
HALF_TURN = DIRECTIONS // 2
UNIT = 256
"""One pixel, in the units of `Stamps.unit_vectors`."""
FULL_WEIGHT = 4096
FAINT = 16
"""Room and surroundings below this value are none; the reduction leaves ripples."""

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


class Spots(NamedTuple):
    """The pixels of D shapes that are not faint, Q each: places `y`, `x` seen from the middle, and `value`, all (D, Q).

    A shape with fewer pixels than others repeats its first one.
    """

    y: Integers
    x: Integers
    value: Bytes


class Stamps(NamedTuple):
    """Tables of one look at one margin.

    - `line` (D, P, P) a paddle from the middle pixel in each direction.
    - `room` what it blocks for others, which is the paddle widened by the margin; `surroundings` the same widened once
      more, where no paddle may end.
    - `marker` (P', P').
    - `unit_vectors` (D, 2) y and x of a direction, in units of 1 / UNIT pixel.
    - `ring` (K, 2) where a paddle may end, seen from the middle of the gap before it; `ring_directions` (K,).
    - `weight` (D,) how likely a turn by that angle is, at most FULL_WEIGHT.
    - `step` pixels from the middle of one gap to that of the next; `length` and `margin` of a paddle.
    """

    line: Bytes
    room: Spots
    surroundings: Spots
    marker: Bytes
    unit_vectors: Integers
    ring: Integers
    ring_directions: Integers
    weight: Integers
    step: int
    length: int
    margin: int


def up(units: Integers) -> Integers:
    """Return lengths in units of 1 / UNIT, rounded up to the next whole one."""
    return -(-units // UNIT)


@cache
def stamps(look: Look, margin: int) -> Stamps:
    """Return the tables, made at the first call."""
    reach = look.length + -(-look.thickness // SUBPIXELS) + margin
    ring = _ring(look.length + margin)
    bars = _bars(look, reach)
    room = _reduce(_widened(bars, SUBPIXELS * margin))
    return Stamps(
        line=_reduce(bars),
        room=_spots(room),
        surroundings=_spots(_widened(room, margin, border=margin)),
        marker=_reduce(_disc(look.marker_radius))[0],
        unit_vectors=_unit_vectors(UNIT),
        ring=ring,
        ring_directions=_directions_of(ring),
        weight=_weights(look.continuity),
        step=look.length + 2 * margin,
        length=look.length,
        margin=margin,
    )


def _rounded(value: float) -> int:
    """Return the nearest integer, the same one on machines that differ in the last digits of `value`."""
    return math.floor(round(value, 6) + 0.5)


def _unit_vectors(unit: int) -> Integers:
    turns = [2 * math.pi * d / DIRECTIONS for d in range(DIRECTIONS)]
    return np.array([[_rounded(unit * math.sin(t)), _rounded(unit * math.cos(t))] for t in turns], dtype=np.int64)


def _ring(radius: int) -> Integers:
    """Return the pixels of a circle, rounded down: one for each pixel of its length, less those that coincide."""
    turns = [k / radius for k in range(math.ceil(2 * math.pi * radius))]
    points = [(radius * math.sin(t), radius * math.cos(t)) for t in turns]
    pixels = {(math.floor(round(y, 6)), math.floor(round(x, 6))) for y, x in points}
    return np.array(sorted(pixels), dtype=np.int64)


def _directions_of(pixels: Integers) -> Integers:
    turns = [math.atan2(y, x) / (2 * math.pi) * DIRECTIONS for y, x in pixels.tolist()]
    return np.array([_rounded(turn) % DIRECTIONS for turn in turns], dtype=np.int64)


def _weights(continuity: float) -> Integers:
    angles = [2 * math.pi * min(d, DIRECTIONS - d) / DIRECTIONS for d in range(DIRECTIONS)]
    cosines = [math.cos(min(angle * continuity, math.pi / 2)) for angle in angles]
    return np.array([_rounded(FULL_WEIGHT * cosine**2) for cosine in cosines], dtype=np.int64)


def _bars(look: Look, reach: int) -> npt.NDArray[np.bool_]:
    """Return paddles on the grid of subpixels (D, G, G), each a line from the middle subpixel of the middle pixel.

    A line is one subpixel in each step of its longer axis, and widened across to its thickness.
    """
    y, x = np.mgrid[-SUBPIXELS * reach : SUBPIXELS * reach + 1, -SUBPIXELS * reach : SUBPIXELS * reach + 1]
    ends = up(SUBPIXELS * look.length * _unit_vectors(UNIT))
    down, right = (ends[:, i, None, None] for i in (0, 1))
    norm = np.array([_rounded(UNIT * math.hypot(*end)) for end in ends.tolist()])[:, None, None]
    half = np.maximum(abs(down), abs(right)) * UNIT + (look.thickness - 1) * norm
    across = 2 * UNIT * (y * right - x * down)
    along = y * down + x * right
    lit: npt.NDArray[np.bool_] = (along >= 0) & (along <= down**2 + right**2) & (across > -half) & (across <= half)
    return lit


def _widened(shapes: npt.NDArray[Any], radius: int, border: int = 0) -> npt.NDArray[Any]:
    """Return each pixel's largest neighbour within `radius` in shapes (N, G, G), with `border` more pixels around."""
    edge = radius + border
    wide = np.pad(shapes, [(0, 0), (edge, edge), (edge, edge)])
    n = shapes.shape[1] + 2 * border
    result = np.zeros((len(shapes), n, n), dtype=shapes.dtype)
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            if y**2 + x**2 <= radius**2:
                np.maximum(result, wide[:, radius + y : radius + y + n, radius + x : radius + x + n], out=result)
    return result


def _spots(shapes: Bytes) -> Spots:
    """Return the spots of shapes (D, P, P)."""
    D, P, _ = shapes.shape
    flat = shapes.reshape(D, -1)
    order = np.argsort(flat < FAINT, axis=1, kind="stable")[:, : int((flat >= FAINT).sum(axis=1).max())]
    value = np.take_along_axis(flat, order, axis=1)
    order = np.where(value >= FAINT, order, order[:, :1])
    return Spots(order // P - P // 2, order % P - P // 2, np.take_along_axis(flat, order, axis=1))


def _disc(radius: int) -> npt.NDArray[np.bool_]:
    """Return a marker (1, G, G) whose middle is the first subpixel of the middle pixel, as in the original."""
    reach = radius // SUBPIXELS + 3
    y, x = np.mgrid[: SUBPIXELS * (2 * reach + 1), : SUBPIXELS * (2 * reach + 1)] - SUBPIXELS * reach
    disc: npt.NDArray[np.bool_] = (y**2 + x**2 <= radius**2)[None]
    return disc


def _reduce(shapes: npt.NDArray[np.bool_]) -> Bytes:
    """Return shapes on the grid of subpixels (N, G, G) as pixels (N, P, P), one axis after the other."""
    n_in = shapes.shape[1]
    kernel = _lanczos(n_in, n_in // SUBPIXELS + n_in % SUBPIXELS)
    # Integers in floating point, far below 2^53: matrix products are exact in whatever order they are added up.
    across = _to_bytes(255.0 * shapes @ kernel.T)
    return _to_bytes(kernel @ across).astype(np.uint8)


def _to_bytes(weighted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.floor(weighted / FULL_WEIGHT + 0.5), 0, 255)


def _lanczos(n_in: int, n_out: int) -> npt.NDArray[np.float64]:
    """Return the matrix (n_out, n_in), in integers that add up to about FULL_WEIGHT in each row."""
    scale = n_in / n_out
    rows = []
    for i in range(n_out):
        offsets = [(j + 0.5 - (i + 0.5) * scale) / scale for j in range(n_in)]
        values = [_sinc(u) * _sinc(u / 3) if abs(u) < 3 else 0.0 for u in offsets]
        rows.append([float(_rounded(FULL_WEIGHT * value / sum(values))) for value in values])
    return np.array(rows)


def _sinc(u: float) -> float:
    return 1.0 if u == 0 else math.sin(math.pi * u) / (math.pi * u)
