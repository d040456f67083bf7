"""Where the paddles of many images lie already, kept while their snakes grow.

Each image has two layers of bytes: `room` is what its paddles block for others, `surroundings` where none may end. The
border of an image, and what is beyond it, is blocked from the start. Letters here: n images, Q spots of a paddle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.first_paddles import BLOCKED, OFF, first_paddles
from attention_arena_tasks.pathfinder.stamps import Bytes, Integers, Spots, Stamps

COLLISION = 459
"""Two rooms collide where their values add up to this, 1.8 times the full value."""
TAKEN = 77
"""From this value on, 0.3 of the full one, the room of a paddle that begins a snake must not meet another."""


class Paddles(NamedTuple):
    """One paddle for each of some images: its pixel `y`, `x` at one end, and the `direction` (stamps.py) from there."""

    y: Integers
    x: Integers
    direction: Integers

    def of(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Paddles:
        """Return those of some images."""
        return Paddles(self.y[which], self.x[which], self.direction[which])


class Added(NamedTuple):
    """What `Layer.stamp` changed: places (n, Q) and the values that were there."""

    layer: Layer
    places: Integers
    before: Bytes


class Layer:
    """Bytes (n, S', S'), widened by `margin` pixels of `BLOCKED` on each side."""

    def __init__(self, n: int, size: int, padding: int, margin: int, spots: Spots) -> None:
        self.margin, self.width = margin, size + 2 * margin
        self.empty = np.full((self.width, self.width), BLOCKED, dtype=np.uint8)
        inner = slice(margin + padding, margin + size - padding)
        self.empty[inner, inner] = 0
        self.values = np.tile(self.empty, (n, 1, 1))
        self.flat = self.values.reshape(-1)
        self.offsets, self.spot_values = spots.y * self.width + spots.x, spots.value

    def at(self, images: Integers, y: Integers, x: Integers) -> Integers:
        """Return where pixels lie in `flat`; `images` must fit the shape of `y` and `x`."""
        return (images * self.width + y + self.margin) * self.width + x + self.margin

    def places(self, images: Integers, paddles: Paddles) -> Integers:
        """Return where the spots of paddles lie in `flat` (n, Q)."""
        places: Integers = self.offsets[paddles.direction]
        places += self.at(images, paddles.y, paddles.x)[:, None]
        return places

    def stamp(self, images: Integers, paddles: Paddles) -> Added:
        """Add one paddle to each of the images."""
        places = self.places(images, paddles)
        before = self.flat[places]
        self.flat[places] = np.maximum(before, self.spot_values[paddles.direction])
        return Added(self, places, before)


class Canvas:
    """The layers of n images, and the tables that are stamped on them."""

    def __init__(self, n: int, size: int, padding: int, stamps: Stamps) -> None:
        # What is looked at lies at most a gap and a paddle away from a paddle's end, or as far as the spots reach.
        margin = max(int(abs(stamps.surroundings.y).max()), stamps.step) + stamps.margin + 2
        self.stamps, self.size = stamps, size
        self.first = first_paddles(stamps.room)
        self.room = Layer(n, size, padding, margin, stamps.room)
        self.surroundings = Layer(n, size, padding + stamps.margin, margin, stamps.surroundings)

    def clear(self, images: Integers) -> None:
        """Take every paddle off the images."""
        for layer in (self.room, self.surroundings):
            layer.values[images] = layer.empty

    def take(self, images: Integers, other: Canvas, which: Integers) -> None:
        """Replace `images` by images `which` of another canvas."""
        self.room.values[images] = other.room.values[which]
        self.surroundings.values[images] = other.surroundings.values[which]

    def add(self, images: Integers, paddles: Paddles) -> list[Added]:
        """Add one paddle to each of the images; returns what `undo` wants."""
        return [layer.stamp(images, paddles) for layer in (self.room, self.surroundings)]

    def collides(self, images: Integers, paddles: Paddles) -> npt.NDArray[np.bool_]:
        """Return whether each image's new paddle meets one that is there (n,)."""
        there = self.room.flat[self.room.places(images, paddles)].astype(np.int16)
        there += self.room.spot_values[paddles.direction]
        highest: Integers = there.max(axis=1)
        return highest >= COLLISION

    def is_free(self, images: Integers, paddles: Paddles) -> npt.NDArray[np.bool_]:
        """Return whether nothing lies where room for a paddle that begins a snake is looked for (n,)."""
        looked_at = Paddles(paddles.y + OFF, paddles.x + OFF, paddles.direction)
        there = self.room.flat[self.room.places(images, looked_at)]
        needed = self.room.spot_values[paddles.direction] == BLOCKED
        blocked: npt.NDArray[np.bool_] = ((there >= TAKEN) & needed).any(axis=1)
        return ~blocked


def undo(added: list[Added], failed: npt.NDArray[np.bool_]) -> None:
    """Take back, in the images that `failed` (n,), what one `Canvas.add` of them added."""
    for layer, places, before in added:
        layer.flat[places[failed]] = before[failed]
