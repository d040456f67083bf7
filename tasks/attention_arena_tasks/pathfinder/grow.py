"""Snakes that grow in many images at once, a paddle at a time (Linsley et al. 2018).

A snake is paddles end to end with gaps between. The next one turns from the last by an angle of weight cos^2, and ends
where there is room; it must not cross what is there. Every choice is integer arithmetic on words of 64 random bits that
belong to the image, so an image does not depend on those that grow beside it. Letters here: n images, K pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.canvas import Canvas, Paddles
from attention_arena_tasks.pathfinder.stamps import DIRECTIONS, HALF_TURN, Integers, Stamps, up

TRIALS = 3
"""Turns that a snake tries before it is stuck."""

Words = npt.NDArray[np.uint64]


class Heads(NamedTuple):
    """How far the snakes of n images have grown.

    `y`, `x` the middle of the gap before the last paddle, `direction` its course, `last` the paddle itself, which is
    not on the canvas yet, so that the next one may touch it.
    """

    y: Integers
    x: Integers
    direction: Integers
    last: Paddles

    def of(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Heads:
        """Return those of some images."""
        return Heads(self.y[which], self.x[which], self.direction[which], self.last.of(which))


def share(words: Words, shift: int, n: int | Integers) -> Integers:
    """Return evenly spread integers from 0 to n - 1, from the 32 bits of each word above `shift`."""
    bits = (words >> np.uint64(shift)) & np.uint64(0xFFFFFFFF)
    return ((bits * np.asarray(n, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)


def moved(stamps: Stamps, y: Integers, x: Integers, direction: Integers, distance: int) -> tuple[Integers, Integers]:
    """Return the pixels `distance` pixels on in `direction`, rounded up."""
    by = up(distance * stamps.unit_vectors[direction])
    return y + by[:, 0], x + by[:, 1]


def begun(stamps: Stamps, y: Integers, x: Integers, direction: Integers) -> Heads:
    """Return snakes of one paddle that starts at `y`, `x`."""
    gap_y, gap_x = moved(stamps, y, x, (direction + HALF_TURN) % DIRECTIONS, stamps.margin)
    return Heads(gap_y, gap_x, direction, Paddles(y, x, direction))


def extended(canvas: Canvas, images: Integers, heads: Heads, words: Words) -> tuple[npt.NDArray[np.bool_], Heads]:
    """Return which snakes (n,) found room for one more paddle, and how far they are then.

    `words` (n, TRIALS). The last paddles are not put on the canvas; see `Canvas.add`.
    """
    stamps = canvas.stamps
    y, x = moved(stamps, heads.y, heads.x, heads.direction, stamps.step)
    ends = canvas.surroundings.at(images[:, None], y[:, None] + stamps.ring[:, 0], x[:, None] + stamps.ring[:, 1])
    free = 255 - canvas.surroundings.flat[ends].astype(np.int64)  # (n, K)
    turn = (stamps.ring_directions - heads.direction[:, None]) % DIRECTIONS
    sums = np.cumsum(free * stamps.weight[turn], axis=1)
    found = np.zeros(len(images), dtype=bool)
    chosen = np.zeros(len(images), dtype=np.int64)
    left = np.flatnonzero(sums[:, -1])
    for trial in range(TRIALS):
        point = share(words[left, trial], 32, sums[left, -1])
        chosen[left] = (sums[left] > point[:, None]).argmax(axis=1)
        hit = canvas.collides(images[left], _paddles(stamps, y[left], x[left], chosen[left]))
        found[left[~hit]] = True
        left = left[hit]
    return found, Heads(y, x, stamps.ring_directions[chosen], _paddles(stamps, y, x, chosen))


def _paddles(stamps: Stamps, y: Integers, x: Integers, chosen: Integers) -> Paddles:
    """Return the paddles that end at the chosen pixel of the ring around `y`, `x`, and come from its middle."""
    end = stamps.ring[chosen]
    return Paddles(y + end[:, 0], x + end[:, 1], (stamps.ring_directions[chosen] + HALF_TURN) % DIRECTIONS)
