"""Reads a grey PNG image."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image

from attention_arena_tasks.pathfinder.stamps import Bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREYS = {"L", "LA", "P", "RGB", "RGBA"}
"""Kinds of pixels that have 256 greys or can be turned into them."""


def decode(content: bytes, size: int) -> Bytes:
    """Return the pixels (size, size) of a PNG file's content; ValueError says what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=("PNG",))
    # Pillow raises SyntaxError for chunks that are out of place, and a warning of its own for vast images.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"not a PNG image ({error})") from error
    if image.size != (size, size):
        raise ValueError(f"expected {size} x {size} pixels, got {image.width} x {image.height}")
    if image.mode not in GREYS:
        raise ValueError(f"expected 8-bit grey, got Pillow's mode {image.mode}")
    try:
        return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"damaged PNG image ({error})") from error


def size_of(content: bytes) -> int | None:
    """Return the pixels along a side that a PNG file's content claims; None for what is no square PNG image."""
    if not content.startswith(SIGNATURE) or len(content) < len(SIGNATURE) + 16:
        return None
    width, height = struct.unpack(">II", content[len(SIGNATURE) + 8 : len(SIGNATURE) + 16])
    return int(width) if width == height else None
