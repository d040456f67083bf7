"""How the first paddle of a snake may lie, by what the original generator does rather than by what it means to do.

The original looks for room one pixel below and to the right of where it then draws (the middle of its footprint is off
by one), and gives up where that footprint, laid on a corner of the image, lies outside as a whole: its dilation then
reads less than nothing, which it takes for an image without any room. So only directions whose footprint reaches over
the pixel itself in every quarter can begin a snake: 8 % of them at 32 x 32, up and to the left, 26 % at 64 x 64, and
nearly all at 128 and 256. A distractor that draws another direction is given up, which is why small images of the
original have so few: about 1.1 of 5 at 32 x 32, where nearly every one would find room.

Source: `seed_snake`, `initialize_two_seeds`, `find_available_coordinates` of drewlinsley/pathfinder, run and counted.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.stamps import Integers, Spots

BLOCKED = 255
"""What is fully a paddle's room; less does not count for a first paddle."""
OFF = 1
"""Pixels down and to the right at which room is looked for."""


class FirstPaddles(NamedTuple):
    """What is known of a first paddle in each of D directions (stamps.py).

    - `is_open` (D,) whether it can begin a snake; `directions` those that can, in their order.
    - `low`, `high` (D, 2) y and x of the first and of the last pixel that it needs, seen from where it begins.
    """

    is_open: npt.NDArray[np.bool_]
    directions: Integers
    low: Integers
    high: Integers


def first_paddles(room: Spots) -> FirstPaddles:
    """Return it for paddles that take up this room."""
    needed = room.value == BLOCKED  # (D, Q)
    at = np.stack([room.y, room.x], axis=-1) + OFF  # (D, Q, 2)
    quarters = [(at * np.array(signs) >= 0).all(axis=-1) & needed for signs in product((-1, 1), repeat=2)]
    is_open = np.all([quarter.any(axis=1) for quarter in quarters], axis=0)
    far = np.iinfo(np.int64).max
    low = np.where(needed[..., None], at, far).min(axis=1)
    high = np.where(needed[..., None], at, -far).max(axis=1)
    return FirstPaddles(is_open, np.flatnonzero(is_open), low, high)
