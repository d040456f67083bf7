"""What a run said on each test example, read from its `predictions.npz` when a comparison needs it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FILE = "predictions.npz"
AT = "best_"
"""Names of arrays at the best step begin so."""
MOST_BYTES = 2**30
"""Unpacked. Ten million examples stay far below; a file that claims more is damaged or means harm."""


class PredictionsError(Exception):
    """The file is missing or cannot be read; the message says which and why."""


def read_predictions(run: Path) -> dict[str, Any]:
    """Return the arrays (N,) of the run in folder `run` at its best step, by name without prefix.

    Nothing in the file is executed (no pickles). Raises PredictionsError.
    """
    path = run / FILE
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > MOST_BYTES:
            raise PredictionsError(f"{path} claims to hold {claimed:,} bytes, more than {MOST_BYTES:,}")
        with np.load(path, allow_pickle=False) as found:
            return {name.removeprefix(AT): found[name] for name in found.files if name.startswith(AT)}
    except FileNotFoundError:
        raise PredictionsError(f"{path} is missing") from None
    # What numpy and zipfile raise on bytes that are no archive of arrays, or an array that is no numbers.
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise PredictionsError(f"{path} is damaged: {type(error).__name__}: {error}") from error
