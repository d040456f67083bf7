"""Colour to grey as the Long Range Arena does it, in integers.

It calls TensorFlow's `rgb_to_grayscale` on bytes: weights 0.2989, 0.5870 and 0.1140 on values scaled to 1, then back
to bytes by a factor of 255.5, what is behind the point being cut off. The weights add up to 0.9999. With R, G, B from 0
to 255 that is floor((0.2989 R + 0.5870 G + 0.1140 B) * 255.5 / 255), which here is exact on every machine; single
precision differs from it, by 1, for one colour in 70,000. To cut off the weighted sum itself gives another grey for
every fourth colour.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WEIGHTS = (2989, 5870, 1140)
"""Of red, green and blue, in ten-thousandths."""
AT_ONCE = 1000
"""Images whose weighted sums are held at a time."""

Pixels = npt.NDArray[np.uint8]


def to_grey(planes: Pixels) -> Pixels:
    """Return the greys (N, 1024) of images (N, 3072) whose red, green and blue pixels follow each other."""
    grey = np.empty((len(planes), planes.shape[1] // 3), dtype=np.uint8)
    for start in range(0, len(planes), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        colours = np.split(planes[rows].astype(np.uint32), 3, axis=1)
        total = sum(np.uint32(weight) * colour for weight, colour in zip(WEIGHTS, colours, strict=True))
        grey[rows] = np.asarray(total) * np.uint32(511) // np.uint32(2 * 255 * 10_000)
    return grey
