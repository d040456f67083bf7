"""Pathfinder images of our own, after the algorithm of Linsley et al. (2018) with the Long Range Arena's settings.

Two target snakes grow in parallel from near the middle; if either is stuck the image starts afresh. Short distractor
snakes fill the rest as far as there is room. A marker lies on the beginning of a target snake, and another one on the
end of the same snake (class 1) or of the other (class 0). Many images grow at once, but image i of a split depends on
the seed, the split and i alone: its random words come from streams that these three number.

How a first paddle may lie is copied with its quirks (first_paddles.py). What differs from the original: free places
for distractors are found by trying (there by listing them), the last paddle of both targets keeps distractors away
(there of one), and classes are balanced: of each two images one is connected.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.canvas import Canvas, Paddles, undo
from attention_arena_tasks.pathfinder.grow import TRIALS, Heads, Words, begun, extended, moved, share
from attention_arena_tasks.pathfinder.recipe import Recipe
from attention_arena_tasks.pathfinder.stamps import DIRECTIONS, Integers, stamps

ATTEMPTS_AT_ONCE = 1024
"""At most: they end one after the other, and what is left of few costs as much as of many."""
ATTEMPT_BYTES = 2**26
"""Of layers, about, that attempts at once may take up."""
SNAKE_TRIALS = 5
"""Times that a distractor snake is begun before it is left out."""
PLACES = 24
"""Places that a trial looks at for one that is free."""
NOWHERE = -1
LAYOUT, TARGETS, DISTRACTORS = range(3)
"""What a stream of random words is for."""


class Geometry(NamedTuple):
    """What N images show.

    - `labels` (N,) 1 if the markers lie on one snake; `markers` (N, 2, 2) their pixels, y and x.
    - `margins` (N,) which margin each image has.
    - `paddles` (N, S, L, 3) y, x and direction (stamps.py) of the paddles of S snakes, at most L each; the first two
      snakes are the targets; NOWHERE where there is none.
    """

    labels: npt.NDArray[np.uint8]
    markers: npt.NDArray[np.int16]
    margins: npt.NDArray[np.uint8]
    paddles: npt.NDArray[np.int16]


class Range(NamedTuple):
    """Consecutive images of a split: `part` numbers the split, and `start` is the first one."""

    seed: int
    part: int
    start: int
    n: int

    def stream(self, image: int, purpose: int) -> np.random.PCG64:
        """Return an image's own random words for a purpose."""
        return np.random.PCG64(np.random.SeedSequence([self.seed, self.part, purpose, self.start + image]))


def layout(images: Range) -> tuple[Words, npt.NDArray[np.uint8]]:
    """Return a random word and the class of each image (n,)."""
    odd = images.start % 2
    bits = np.random.PCG64(np.random.SeedSequence([images.seed, images.part, LAYOUT]))
    words = bits.advance(images.start - odd).random_raw(images.n + odd)
    indices = np.arange(odd, images.n + odd)
    pair = (words[indices - indices % 2] & np.uint64(1)).astype(bool)
    return words[odd:], (pair == (indices % 2 == 0)).astype(np.uint8)


def grow_images(recipe: Recipe, images: Range) -> Geometry:
    """Return what the images show."""
    own, labels = layout(images)
    margins = np.array(recipe.look.margins, dtype=np.uint8)[share(own, 32, len(recipe.look.margins))]
    shape = (images.n, 2 + recipe.n_distractors, recipe.contour_length, 3)
    paddles = np.full(shape, NOWHERE, dtype=np.int16)
    for margin in recipe.look.margins:
        chosen = np.flatnonzero(margins == margin)
        canvas = Canvas(len(chosen), recipe.size, recipe.look.padding, stamps(recipe.look, margin))
        streams = [images.stream(int(i), TARGETS) for i in chosen]
        paddles[chosen, :2] = _targets(canvas, recipe, streams)
        streams = [images.stream(int(i), DISTRACTORS) for i in chosen]
        paddles[chosen, 2:, : recipe.distractor_length] = _distractors(canvas, recipe, streams)
    everyone = np.arange(images.n)
    origin = ((own >> np.uint64(1)) & np.uint64(1)).astype(np.int64)
    tip = np.where(labels == 1, origin, 1 - origin)
    markers = np.stack([paddles[everyone, origin, 0, :2], paddles[everyone, tip, -1, :2]], axis=1)
    return Geometry(labels, markers, margins, paddles)


def _targets(canvas: Canvas, recipe: Recipe, streams: list[np.random.PCG64]) -> npt.NDArray[np.int16]:
    """Return the target snakes' paddles (n, 2, L, 3), which are then on the canvas; each image's first success counts.

    The fewer images are left, the more attempts of each are made at once.
    """
    paddles = np.empty((len(streams), 2, recipe.contour_length, 3), dtype=np.int16)
    at_once = min(ATTEMPTS_AT_ONCE, ATTEMPT_BYTES // (2 * recipe.size**2))
    scratch = Canvas(at_once, recipe.size, recipe.look.padding, canvas.stamps)
    n_words = 2 + 2 * TRIALS * (recipe.contour_length - 1)
    left = np.arange(len(streams))
    while len(left):
        now = left[:at_once]
        each = at_once // len(now)
        words = np.concatenate([streams[i].random_raw(each * n_words).reshape(each, n_words) for i in now])
        grown, succeeded = _attempts(scratch, recipe, words)
        which, first = np.unique(succeeded // each, return_index=True)
        done, attempt = now[which], succeeded[first]
        canvas.take(done, scratch, attempt)
        paddles[done] = grown[attempt]
        left = np.setdiff1d(left, done)
    return paddles


def _attempts(canvas: Canvas, recipe: Recipe, words: Words) -> tuple[npt.NDArray[np.int16], Integers]:
    """Return the paddles (n, 2, L, 3) of n attempts on a canvas that is cleared first, and which of them succeeded."""
    grown = np.empty((len(words), 2, recipe.contour_length, 3), dtype=np.int16)
    active, snakes = _seeds(canvas, recipe, words[:, :2])
    canvas.clear(active)
    for k, snake in enumerate(snakes):
        grown[active, k, 0] = np.stack(snake.last, axis=1)
    for i in range(1, recipe.contour_length):
        for k in (0, 1):
            at = 2 + TRIALS * (2 * (i - 1) + k)
            found, longer = extended(canvas, active, snakes[k], words[active, at : at + TRIALS])
            active = active[found]
            canvas.add(active, snakes[k].last.of(found))
            snakes[1 - k] = snakes[1 - k].of(found)
            snakes[k] = longer.of(found)
            grown[active, k, i] = np.stack(snakes[k].last, axis=1)
    for snake in snakes:
        canvas.add(active, snake.last)
    return grown, active


def _seeds(canvas: Canvas, recipe: Recipe, words: Words) -> tuple[Integers, list[Heads]]:
    """Return which attempts have room for their first paddle, and the two snakes of those; `words` (n, 2)."""
    look, stamps, first = recipe.look, canvas.stamps, canvas.first
    low, high = 2 * look.seed_distance, recipe.size - 2 * look.seed_distance
    y, x = _pixels(words[:, 0], low, high)
    direction = first.directions[share(words[:, 0], 32, len(first.directions))]
    place = np.stack([y, x], axis=1)
    within = (low <= place + first.low[direction]) & (place + first.high[direction] < high)
    kept = np.flatnonzero(within.all(axis=1))
    other_y, other_x = moved(stamps, y, x, share(words[:, 1], 32, DIRECTIONS), look.seed_distance)
    other_direction = share(words[:, 1], 0, DIRECTIONS)
    snakes = [begun(stamps, y, x, direction), begun(stamps, other_y, other_x, other_direction)]
    return kept, [snake.of(kept) for snake in snakes]


def _pixels(words: Words, low: int, high: int) -> tuple[Integers, Integers]:
    """Return pixels y and x from `low` to `high - 1`, from the lower 32 bits of each word."""
    y, x = (
        low
        + (((words >> np.uint64(shift)) & np.uint64(0xFFFF)) * np.uint64(high - low) >> np.uint64(16)).astype(np.int64)
        for shift in (0, 16)
    )
    return y, x


def _distractors(canvas: Canvas, recipe: Recipe, streams: list[np.random.PCG64]) -> npt.NDArray[np.int16]:
    """Return the distractors' paddles (n, S, L, 3), NOWHERE for those without room; put them on the canvas."""
    length = recipe.distractor_length
    shape = (recipe.n_distractors, SNAKE_TRIALS, PLACES + TRIALS * (length - 1))
    words = np.array([stream.random_raw(math.prod(shape)).reshape(shape) for stream in streams])
    paddles = np.full((len(streams), recipe.n_distractors, length, 3), NOWHERE, dtype=np.int16)
    for k in range(recipe.n_distractors):
        left = np.arange(len(streams))
        for trial in range(SNAKE_TRIALS):
            if not len(left):
                break
            found, place = _free_places(canvas, left, words[left, k, trial, :PLACES])
            images, snake = left[found], begun(canvas.stamps, *place)
            grown = _distractor(canvas, images, snake, words[images, k, trial, PLACES:], length)
            done = grown[:, 0, 0] != NOWHERE
            paddles[images[done], k] = grown[done]
            left = np.setdiff1d(left, images[done])
    return paddles


def _free_places(canvas: Canvas, images: Integers, words: Words) -> tuple[Integers, Paddles]:
    """Return which of n images have a free place among those of `words` (n, PLACES), and the first one of each.

    All places of an image have one direction; where no snake can begin in it, no place is free.
    """
    places = np.zeros((len(images), 3), dtype=np.int64)
    direction = share(words[:, 0], 32, DIRECTIONS)
    tried = left = np.flatnonzero(canvas.first.is_open[direction])
    for column in words.T:
        place = Paddles(*_pixels(column[left], 0, canvas.size), direction[left])
        free = canvas.is_free(images[left], place)
        places[left] = np.stack(place, axis=1)
        left = left[~free]
    found = np.setdiff1d(tried, left)
    return found, Paddles(*places[found].T)


def _distractor(canvas: Canvas, images: Integers, snake: Heads, words: Words, length: int) -> npt.NDArray[np.int16]:
    """Return the paddles (n, L, 3) of one snake in each of n images and put them on; NOWHERE if it was stuck."""
    grown = np.full((len(images), length, 3), NOWHERE, dtype=np.int16)
    grown[:, 0] = np.stack(snake.last, axis=1)
    alive = np.arange(len(images))
    added = []
    for i in range(1, length):
        found, longer = extended(canvas, images[alive], snake, words[alive, TRIALS * (i - 1) : TRIALS * i])
        alive = alive[found]
        added.append((alive, canvas.add(images[alive], snake.last.of(found))))
        snake = longer.of(found)
        grown[alive, i] = np.stack(snake.last, axis=1)
    canvas.add(images[alive], snake.last)
    stuck = np.ones(len(images), dtype=bool)
    stuck[alive] = False
    for those, layers in reversed(added):
        undo(layers, stuck[those])
    grown[stuck] = NOWHERE
    return grown
