"""Draws a sheet of samples: connected ones in the upper half, others in the lower, and real ones beside them.

`python -m attention_arena_tasks.pathfinder.sheet OUT.png [--size 128] [--beside RELEASE]`
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from attention_arena_tasks.pathfinder.drawing import draw
from attention_arena_tasks.pathfinder.generate import Range, layout
from attention_arena_tasks.pathfinder.recipe import CONTOUR_LENGTH, LOOKS
from attention_arena_tasks.pathfinder.release import find, images_of
from attention_arena_tasks.pathfinder.stamps import Bytes

GAP = 4
PIXELS = 192
"""Of an image on the sheet along a side, as far as its own are a divisor."""
MOST_READ = 200
"""Images of a release that are looked at."""


def sheet(images: Bytes, labels: Bytes, columns: int, rows: int) -> Bytes:
    """Return a picture (height, width) of `rows` rows of connected images (N, S, S), and as many of others."""
    scale = max(1, PIXELS // images.shape[1])
    chosen = np.concatenate([np.flatnonzero(labels == label)[: columns * rows] for label in (1, 0)])
    if len(chosen) < 2 * columns * rows:
        raise ValueError(f"expected {columns * rows} images of each class, got {len(images)} images in all")
    framed = [np.pad(np.kron(images[i], np.ones((scale, scale), np.uint8)), GAP, constant_values=96) for i in chosen]
    lines = [np.concatenate(framed[k : k + columns], axis=1) for k in range(0, len(framed), columns)]
    return np.concatenate(lines)


def main(
    out: Path, size: int = 32, difficulty: str = "curv_contour_length_14", seed: int = 0,
    columns: int = 6, rows: int = 2, beside: Annotated[Path | None, typer.Option(help="A release to compare.")] = None,
) -> None:  # fmt: skip
    """Write a sheet of samples."""
    if size not in LOOKS or difficulty not in CONTOUR_LENGTH:
        raise typer.BadParameter(f"size must be one of {[*LOOKS]}, and difficulty one of {[*CONTOUR_LENGTH]}")
    ours = Range(seed, 0, 0, 2 * columns * rows)
    pages = [sheet(draw(ours, size, difficulty), layout(ours)[1], columns, rows)]
    if beside is not None:
        found = find(beside, size, difficulty)
        read = islice(images_of([found], lambda _, problem: typer.echo(problem, err=True)), MOST_READ)
        real = [(pixels, found.labels[name]) for _, name, pixels in read if pixels is not None]
        pages.append(np.full((len(pages[0]), 3 * GAP), 255, dtype=np.uint8))
        pages.append(
            sheet(np.stack([p for p, _ in real]), np.array([y for _, y in real], dtype=np.uint8), columns, rows)
        )
    Image.fromarray(np.concatenate(pages, axis=1)).save(out)


if __name__ == "__main__":
    typer.run(main)
