"""From what an image shows to its pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.pathfinder.generate import NOWHERE, Geometry
from attention_arena_tasks.pathfinder.recipe import Recipe
from attention_arena_tasks.pathfinder.stamps import Bytes, Integers, stamps

MARKER_CONTRAST = 100


def render(recipe: Recipe, geometry: Geometry) -> Bytes:
    """Return the images (N, size, size), each scaled such that its brightest pixel is 255."""
    n, size = len(geometry.labels), recipe.size
    border = 2 * max(recipe.look.length, recipe.look.marker_radius) + 16
    width = size + 2 * border
    values = np.zeros((n, width, width), dtype=np.uint16)  # in hundredths
    for margin in recipe.look.margins:
        images = np.flatnonzero(geometry.margins == margin)
        tables = stamps(recipe.look, margin)
        for k, paddles in enumerate(np.moveaxis(geometry.paddles[images], 1, 0)):
            contrast = recipe.look.target_contrast if k < 2 else recipe.look.distractor_contrast
            bars = tables.line.astype(np.uint16) * np.uint16(contrast)
            for y, x, direction in np.moveaxis(paddles.astype(np.int64), (1, 2), (0, 1)):
                there = y != NOWHERE
                _brighten(values, images[there], border + y[there], border + x[there], bars[direction[there]])
    marker = stamps(recipe.look, recipe.look.margins[0]).marker.astype(np.uint16) * np.uint16(MARKER_CONTRAST)
    for y, x in np.moveaxis(geometry.markers.astype(np.int64), (1, 2), (0, 1)):
        _brighten(values, np.arange(n), border + y, border + x, np.broadcast_to(marker, (n, *marker.shape)))
    inner = values[:, border : border + size, border : border + size].astype(np.uint32)
    brightest = inner.max(axis=(1, 2), keepdims=True)
    scaled: Bytes = ((inner * 255 + brightest // 2) // brightest).astype(np.uint8)
    return scaled


def _brighten(
    values: npt.NDArray[np.uint16], images: Integers, y: Integers, x: Integers, shapes: npt.NDArray[np.uint16]
) -> None:
    """Put a shape (P, P) with its middle at a pixel of each of n images; the brighter value stays."""
    width, reach = values.shape[1], shapes.shape[1] // 2
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    places = ((images * width + y) * width + x)[:, None, None] + down * width + right
    flat = values.reshape(-1)
    flat[places] = np.maximum(flat[places], shapes)
