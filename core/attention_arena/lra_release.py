"""The release of the Long Range Arena (Tay et al. 2020): one archive, of which several tasks read their part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attention_arena.datasets import DataSet, Inspection, RemoteFile

NAME = "lra"


def lra_release(inspect: Callable[[Path], Inspection]) -> DataSet:
    """Return the release as a task declares it, which checks its own part with `inspect`."""
    return DataSet(
        name=NAME,
        summary="The Long Range Arena's own files: ListOps, AAN pairs, Pathfinder; 7.7 GB packed, 18.6 GB unpacked",
        licence="Apache-2.0; the papers' texts are the ACL Anthology Network's, free for research",
        homepage="https://github.com/google-research/long-range-arena",
        # Nobody publishes its size or checksum.
        files=(RemoteFile("lra_release.gz", ("https://storage.googleapis.com/long-range-arena/lra_release.gz",)),),
        inspect=inspect,
        options={"source": "official"},
    )
