"""Numbers of a run that are too many for rows of a table: `arrays.npz` in its folder, which reports read on demand."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy
import numpy.typing as npt

ARRAYS_FILE = "arrays.npz"


class Arrays:
    """The arrays of one attempt at a run; those of an earlier attempt are removed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ARRAYS_FILE
        self.names: set[str] = set()
        self.path.unlink(missing_ok=True)

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Add an array to the file; raises ValueError for a name that is taken."""
        if name in self.names:
            raise ValueError(f"an array {name!r} is saved already; each needs a name of its own")
        self.names.add(name)
        with zipfile.ZipFile(self.path, "a", zipfile.ZIP_DEFLATED) as file, file.open(f"{name}.npy", "w") as entry:
            numpy.lib.format.write_array(entry, numpy.ascontiguousarray(array), allow_pickle=False)


def load_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the run in `folder`, by name; none where it has saved none.

    Raises ValueError, BadZipFile or OSError for a file that is damaged.
    """
    try:
        with numpy.load(folder / ARRAYS_FILE, allow_pickle=False) as found:
            return dict(found)
    except FileNotFoundError:
        return {}
