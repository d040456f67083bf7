"""Text as bytes, with the Long Range Arena's vocabulary (Tay et al. 2020): id = byte + 1, and 0 is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

N_IDS = 257
"""Padding and the 256 byte values."""

Ids = npt.NDArray[np.uint16]


def ids_of(texts: Sequence[bytes]) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Return the ids of all texts one after another, and where each begins, the end included (len(texts) + 1,)."""
    offsets = np.cumsum([0, *(len(text) for text in texts)], dtype=np.int64)
    return np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.uint16) + np.uint16(1), offsets


def text_of(ids: npt.NDArray[np.integer]) -> bytes:
    """Return the bytes of ids without padding."""
    return (ids - 1).astype(np.uint8).tobytes()
