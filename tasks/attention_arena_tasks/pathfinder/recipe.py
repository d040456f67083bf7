"""What a Pathfinder image is made of: the Long Range Arena's settings for each size and difficulty.

Sources: the settings that the Long Range Arena states for its four sizes (Tay et al. 2020; the docstrings of its
`data/pathfinder.py`) over the defaults of the generator (Linsley et al. 2018; Kim et al. 2020). Lengths are in pixels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Size = Literal[32, 64, 128, 256]
Difficulty = Literal["curv_baseline", "curv_contour_length_9", "curv_contour_length_14"]

CONTOUR_LENGTH: dict[str, int] = {"curv_baseline": 6, "curv_contour_length_9": 9, "curv_contour_length_14": 14}
"""Paddles of a target snake."""
SUBPIXELS = 2
"""Subpixels in a pixel, along each axis, at which paddles and markers are drawn before reduction."""


class Look(NamedTuple):
    """What depends on the size alone; `thickness` and `marker_radius` are in subpixels, contrasts in percent.

    A paddle has `length`, and a gap of twice the margin follows it; an image takes one of the `margins`. The two target
    snakes begin `seed_distance` apart. `continuity` says how strongly a snake keeps its course. A marker has contrast
    100, and an image is scaled such that its brightest pixel is 255.
    """

    padding: int
    margins: tuple[int, ...]
    seed_distance: int
    marker_radius: int
    length: int
    thickness: int
    continuity: float
    distractor_paddles: int
    target_contrast: int
    distractor_contrast: int


LOOKS: dict[int, Look] = {
    32: Look(1, (1,), 7, 3, 2, 1, 1.0, 20, 150, 200),
    64: Look(1, (1,), 12, 5, 5, 2, 1.8, 22, 80, 80),
    128: Look(1, (2, 3), 20, 6, 5, 3, 1.8, 35, 90, 90),
    256: Look(22, (3,), 27, 10, 5, 4, 1.8, 30, 100, 100),
}


class Recipe(NamedTuple):
    """Everything that defines an image but its seed."""

    size: int
    look: Look
    contour_length: int

    @property
    def distractor_length(self) -> int:
        """Paddles of a distractor snake."""
        return self.contour_length // 3

    @property
    def n_distractors(self) -> int:
        """Distractor snakes of an image, as far as there is room for them."""
        return self.look.distractor_paddles // self.distractor_length


def recipe_of(size: int, difficulty: str) -> Recipe:
    """Return the recipe of a size and a difficulty."""
    return Recipe(size, LOOKS[size], CONTOUR_LENGTH[difficulty])
