"""Attention maps as small multiples: a block for each variant and task, in it a tile for each layer and head."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy
import numpy.typing as npt
import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.diagnostics.panels import labelled, small_panels
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.figures.marks import Mark, Spot, mark_panel, put_mark
from attention_arena.report.figures.style import FAINT, INK
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import MINUS

CELLS = 32
"""Cells of a drawn tile along either side; the run's own arrays have up to 64."""
MAX_LAYERS, MAX_HEADS = 3, 4
"""Drawn of one model, evenly spread from the first to the last."""
GAP = 2
"""Cells between tiles."""
WIDTH, FONT = 2.2, 6.5
"""Inches of a block, and points of its labels; a page shows blocks larger, for their cells."""
GROUPS = 8
"""Of a tile's queries, whose attention can be read: so many that each has room under a finger."""
LEAST, MOST = 0.1, 30.0
"""Ends of the scale, in times of uniform attention."""
COLUMNS = {"task": pl.String, "label": pl.String, "layer": pl.Int64, "head": pl.Int64, "query": pl.Int64} | {
    f"key_{cell}": pl.Float64 for cell in range(CELLS)
}


class Block(NamedTuple):
    """The tiles of one variant on one task."""

    task: str
    label: str
    tiles: Mapping[tuple[int, int], npt.NDArray[Any]]
    """(layer, head) -> mass (cells of queries, cells of keys)."""
    n_memory: int
    n_tokens: int


def data(results: Results) -> pl.DataFrame:
    """Return the drawn cells, a row for each query's: its first token, and the mass of each cell of keys."""
    rows = []
    for block in _blocks(results):
        for (layer, head), tile in block.tiles.items():
            for cell, masses in enumerate(tile.tolist()):
                named = {f"key_{key}": round(mass, 5) for key, mass in enumerate(masses)}
                first = -(-cell * block.n_tokens // len(tile))
                rows.append(
                    {"task": block.task, "label": block.label, "layer": layer, "head": head, "query": first} | named
                )
    return pl.DataFrame(rows, COLUMNS)


def draw(results: Results) -> Any:
    """Draw the blocks, and one scale for all of them."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    blocks = list(_blocks(results))
    several = len({block.task for block in blocks}) > 1
    n_layers = max(len({layer for layer, _ in block.tiles}) for block in blocks)
    n_heads = max(len({head for _, head in block.tiles}) for block in blocks)
    titles = [f"{block.task}: {block.label}" if several else block.label for block in blocks]
    figure, axes = small_panels(titles, WIDTH, 0.8 + (WIDTH - 0.5) * n_layers / max(n_heads, 2))
    scale = {"norm": LogNorm(LEAST, MOST, clip=True), "cmap": colormaps["magma_r"]}
    for block, panel in zip(blocks, axes, strict=True):
        image = _draw_block(panel, block, scale)
        mark_panel(panel, block.task, _told(block), block.label)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=40, extend="both")
    bar.set_label("attention, in times of uniform attention", fontsize="small")
    bar.set_ticks([0.1, 0.3, 1, 3, 10, 30], labels=["0.1", "0.3", "1", "3", "10", "30"])
    bar.minorticks_off()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.6)
    return figure


def _told(block: Block) -> str:
    """Say how much of each tile's attention goes to the cell that holds the query itself."""
    heads = []
    for (layer, head), tile in block.tiles.items():
        rows, columns = tile.shape
        places = block.n_memory + (numpy.arange(rows) + 0.5) * block.n_tokens / rows
        own = (places * columns / (block.n_memory + block.n_tokens)).astype(int)
        share = 100 * float(tile[numpy.arange(rows), own].mean())
        heads.append(f"layer {layer + 1}, head {head + 1}: {share:.0f} %")
    return f"Share of attention that goes to the map's cell around the query itself: {'; '.join(heads)}."


def _blocks(results: Results) -> Iterator[Block]:
    """Yield what the runs have saved, task by task, variants in the report's order."""
    runs = labelled(results, results.runs.filter(pl.col("status") == "done"))
    for task in runs["task"].unique(maintain_order=True):
        for label in summarise(results).labels:
            for run in runs.filter((pl.col("task") == task) & (pl.col("label") == label)).iter_rows(named=True):
                arrays = results.arrays(run["study"], run["profile"], run["run"])
                name = next((name for name in sorted(arrays) if re.fullmatch(r"attention_map\.\d+\.\d+", name)), None)
                if name is not None:
                    extent = arrays[f"{name}.extent"].tolist()
                    yield Block(task, label, _tiles(arrays[name]), *extent)
                    break


def _tiles(maps: npt.NDArray[Any]) -> dict[tuple[int, int], npt.NDArray[Any]]:
    """Return the tiles to draw of maps (L, H, cells, cells)."""
    layers, heads = _spread(maps.shape[0], MAX_LAYERS), _spread(maps.shape[1], MAX_HEADS)
    return {(layer, head): _pool(maps[layer, head]) for layer in layers for head in heads}


def _spread(n: int, most: int) -> list[int]:
    return sorted({round(place) for place in numpy.linspace(0, n - 1, min(n, most)).tolist()})


def _pool(tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a tile in at most `CELLS` cells a side: the mean over queries, the sum over keys."""
    rows, columns = (numpy.arange(min(n, CELLS)) * n // min(n, CELLS) for n in tile.shape)
    counts = numpy.diff([*rows, tile.shape[0]])
    pooled: npt.NDArray[Any] = numpy.add.reduceat(numpy.add.reduceat(tile, rows, axis=0), columns, axis=1)
    return pooled / counts[:, None]


def _draw_block(panel: Any, block: Block, scale: Mapping[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    layers, heads = (sorted({key[axis] for key in block.tiles}) for axis in (0, 1))
    rows, columns = next(iter(block.tiles.values())).shape
    sheet = numpy.full((len(layers) * (rows + GAP) - GAP, len(heads) * (columns + GAP) - GAP), numpy.nan)
    for (layer, head), tile in block.tiles.items():
        top, left = layers.index(layer) * (rows + GAP), heads.index(head) * (columns + GAP)
        sheet[top : top + rows, left : left + columns] = numpy.maximum(tile * columns, 1e-9)
        frame = Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, edgecolor=FAINT, linewidth=0.6)
        put_mark(panel.add_patch(frame), Mark(block.label, spots=_spots(block, layer, head, left, top)))
        if block.n_memory:
            border = left - 0.5 + columns * block.n_memory / (block.n_memory + block.n_tokens)
            panel.plot([border, border], [top - 0.5, top + rows - 0.5], color=INK, linewidth=0.6, linestyle=":")
    image = panel.imshow(sheet, interpolation="none", aspect=len(heads) * rows / (len(heads) * columns), **scale)
    panel.set_xlim(-1.5, sheet.shape[1] + 0.5)
    panel.set_ylim(sheet.shape[0] + 0.5, -1.5)
    panel.set_xticks([(columns - 1) / 2 + index * (columns + GAP) for index in range(len(heads))], _counted(heads))
    panel.set_yticks([(rows - 1) / 2 + index * (rows + GAP) for index in range(len(layers))], _counted(layers))
    panel.set_xlabel("head", fontsize=FONT, labelpad=1)
    panel.set_ylabel("layer", fontsize=FONT, labelpad=2)
    panel.tick_params(length=0, labelsize=FONT, pad=2)
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    return image


def _spots(block: Block, layer: int, head: int, left: int, top: int) -> list[Spot]:
    """Return what groups of a tile's queries attend to most, each to be read at that cell of keys."""
    tile = block.tiles[layer, head]
    rows, columns = tile.shape
    n_keys = block.n_memory + block.n_tokens
    spots = []
    for places in numpy.array_split(numpy.arange(rows), min(GROUPS, rows)):
        masses = tile[places].mean(axis=0)
        cell = int(masses.argmax())
        queries = _tokens(int(places[0]), int(places[-1]), rows, block.n_tokens)
        keys = _tokens(cell, cell, columns, n_keys, block.n_memory)
        text = f"layer {layer + 1}, head {head + 1}, queries {queries}: most to keys {keys}, {100 * masses[cell]:.0f} %"
        spots.append(Spot(left + cell, top + float(places.mean()), text))
    return spots


def _tokens(first: int, last: int, n_cells: int, n_tokens: int, n_memory: int = 0) -> str:
    """Return the tokens of some cells in words, counted from the segment's first; those of a memory are negative."""
    start = -(-first * n_tokens // n_cells) - n_memory
    end = -(-(last + 1) * n_tokens // n_cells) - 1 - n_memory
    return f"{start} to {end}".replace("-", MINUS)


def _counted(places: list[int]) -> list[str]:
    return [str(place + 1) for place in places]


MAPS = Figure(
    name="attention_maps",
    title="Attention maps",
    caption=(
        "Who attends to whom in one test sequence: queries from top to bottom, keys from left to right, some heads of "
        "some layers. Left of a dotted line are keys of a memory. Where weights may be negative, their size is shown."
    ),
    draw=draw,
    data=data,
    nothing="No run measured attention_map.",
    section=DIAGNOSTICS,
)
