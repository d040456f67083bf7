"""Language models: loss by position and by context, and what each protocol of evaluation scores in what time."""

from __future__ import annotations

from typing import Any

import polars as pl

from attention_arena.report.derived.language_models import by_protocol, labelled
from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import INK, Look, add_legend, canvas, log_ticks, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant, tick

SECTION = "Language models"
TITLES = {"loss_by_position": "loss by position", "loss_by_context": "loss by length of context"}
AXES = {"loss_by_position": "tokens of the window so far", "loss_by_context": "context (tokens)"}
COLUMNS = {
    "task": pl.String,
    "measure": pl.String,
    "phase": pl.String,
    "label": pl.String,
    "context": pl.Float64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
}
PANEL = ["task", "measure", "phase"]


def curves(results: Results) -> pl.DataFrame:
    """Return the loss in nats given each `context` in tokens, averaged over runs.

    By position, the context is the geometric middle of the bin's, which at position p is p + 1 tokens.
    """
    found = labelled(results, results.measurements.filter(pl.col("measure").is_in(list(TITLES))))
    first = pl.col("position") + (pl.col("measure") == "loss_by_position").cast(pl.Int64)
    last = pl.col("position").shift(-1).over(*PANEL, "run").fill_null(pl.col("length"))
    middle = pl.when(pl.col("measure") == "loss_by_position").then((first * last).cast(pl.Float64).sqrt())
    return (
        found.filter(pl.col("value").is_finite() & pl.col("position").is_not_null())
        .sort("position", maintain_order=True)
        .with_columns(context=middle.otherwise(first.cast(pl.Float64)))
        .group_by(*PANEL, "label", "context", maintain_order=True)
        .agg(pl.col("value").mean(), pl.col("low").mean(), pl.col("high").mean(), pl.col("samples").sum())
        .sort("task", "measure", "phase", "label", "context")
        .select(*COLUMNS)
    )


def draw_curves(results: Results) -> Any:
    """Draw a panel for each task, measure and protocol."""
    frame = curves(results)
    labels = summarise(results).labels
    colours = looks(labels)
    panels = (
        frame.select(PANEL).unique(maintain_order=True).sort("task", "measure", "phase", descending=[False, True, True])
    )
    figure, axes = canvas(len(panels))
    for (task, measure, phase), panel in zip(panels.iter_rows(), axes, strict=True):
        rows = frame.filter(task=task, measure=measure, phase=phase)
        for label in labels:
            mine = rows.filter(pl.col("label") == label)
            with of_variant(panel, label, _curve_spots(mine)):
                _line(panel, mine, colours[label])
        mark_panel(panel, task, _ends(rows))
        title = f"{TITLES[measure]}, {phase}" if measure == "loss_by_position" else TITLES[measure]
        panel.set_title(verbatim(f"{task}: {title}" if frame["task"].n_unique() > 1 else title), fontsize="medium")
        panel.set_xlabel(AXES[measure])
        panel.set_ylabel("nats per token")
    _share_heights([task for task, *_ in panels.iter_rows()], axes)
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present})
    return figure


def _curve_spots(rows: pl.DataFrame) -> list[Spot]:
    return [
        Spot(row["context"], row["value"], f"{row['context']:,.0f} tokens: {_told(row)} nats per token")
        for row in rows.iter_rows(named=True)
    ]


def _told(row: dict[str, Any]) -> str:
    ends = "" if row["low"] is None else f" [{significant(row['low'])}, {significant(row['high'])}]"
    return significant(row["value"]) + ends


def _ends(rows: pl.DataFrame) -> str:
    """Say where the lines end, the lowest loss first."""
    last = rows.sort("context").group_by("label", maintain_order=True).last().sort("value")
    ends = [f"{row['label']} {_told(row)} at {row['context']:,.0f} tokens" for row in last.iter_rows(named=True)]
    return f"Loss in nats per token at the last place, from the lowest: {'; '.join(ends)}."


def _share_heights(tasks: list[str], axes: list[Any]) -> None:
    """Give all panels of a task one vertical axis, because their losses are of one text."""
    for task in set(tasks):
        mine = [panel for owner, panel in zip(tasks, axes, strict=True) if owner == task]
        ends = [panel.get_ylim() for panel in mine]
        for panel in mine:
            panel.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def _line(panel: Any, rows: pl.DataFrame, look: Look) -> None:
    from matplotlib.ticker import NullLocator

    if rows.is_empty():
        return
    x = rows["context"].to_numpy()
    if rows["low"].null_count() == 0 and rows["high"].null_count() == 0:
        panel.fill_between(
            x, rows["low"].to_numpy(), rows["high"].to_numpy(), color=look.colour, alpha=0.2, linewidth=0
        )
    panel.plot(x, rows["value"].to_numpy(), color=look.colour, marker=look.marker, markersize=5, linewidth=1.5)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def draw_protocols(results: Results) -> Any:
    """Draw a panel for each task: the compared metric against the time per scored token."""
    from matplotlib.lines import Line2D

    frame = by_protocol(results)
    labels = summarise(results).labels
    colours = looks(labels)
    tasks = frame["task"].unique(maintain_order=True).to_list()
    shapes = dict(zip(frame["protocol"].unique(maintain_order=True), "osD^vPX*hp<>d8H", strict=False))
    figure, axes = canvas(len(tasks))
    for task, panel in zip(tasks, axes, strict=True):
        rows = frame.filter(pl.col("task") == task).sort("ms_per_token")
        for label in labels:
            mine = rows.filter(pl.col("label") == label)
            with of_variant(panel, label, [_protocol_spot(row) for row in mine.iter_rows(named=True)]):
                _points(panel, mine, colours[label], shapes)
        told = [f"{row['label']}, {_protocol_spot(row).text}" for row in rows.sort("value").iter_rows(named=True)]
        mark_panel(panel, task, f"From the lowest value: {'; '.join(told)}.")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(log_ticks(rows["ms_per_token"].to_list()))
        panel.xaxis.set_major_formatter(lambda value, _: tick(value))
        panel.xaxis.set_minor_formatter("")
        panel.set_title(verbatim(task), fontsize="medium")
        panel.set_xlabel("milliseconds per scored token")
        panel.set_ylabel(verbatim(rows["metric"][0].replace("_", " ")))
    present = set(frame["label"])
    key = [
        Line2D([], [], color=INK, linestyle="", marker=shape, markersize=6, label=verbatim(protocol))
        for protocol, shape in shapes.items()
    ]
    add_legend(figure, {label: look._replace(marker="") for label, look in colours.items() if label in present}, key)
    return figure


def _protocol_spot(row: dict[str, Any]) -> Spot:
    text = f"{row['protocol']}: {_told(row)} {row['metric'].replace('_', ' ')}"
    if row["ms_per_token"] is not None:
        text += f" at {significant(row['ms_per_token'])} ms per token"
    return Spot(row["ms_per_token"] or 0.0, row["value"], text)


def _points(panel: Any, rows: pl.DataFrame, look: Look, shapes: dict[str, str]) -> None:
    windows = rows.filter(~pl.col("protocol").str.starts_with("cached"))
    panel.plot(windows["ms_per_token"].to_numpy(), windows["value"].to_numpy(), color=look.colour, linewidth=1.2)
    for protocol, ms, value in rows.select("protocol", "ms_per_token", "value").iter_rows():
        panel.plot([ms], [value], color=look.colour, marker=shapes.get(protocol, "."), markersize=7, linestyle="")


BY_POSITION = Figure(
    name="perplexity_by_position",
    title="Loss by position and by context",
    caption=(
        "Mean loss of the next token: by its place in the window, and with what precedes it cut to so many tokens, "
        "always for the same tokens. Bands are 95 % intervals over blocks of the text, which all variants share, so "
        "bands that overlap may still differ. A line that goes on beyond the others carries state between segments."
    ),
    draw=draw_curves,
    data=curves,
    nothing="No loss by position or by context was measured.",
    section=SECTION,
)
BY_PROTOCOL = Figure(
    name="perplexity_by_protocol",
    title="Quality against time, by protocol",
    caption=(
        "What each protocol of evaluation scores on the same tokens, and how long a scored token takes on the machine: "
        "lower and further left is better. A line joins one variant's windows, side by side and sliding."
    ),
    draw=draw_protocols,
    data=by_protocol,
    nothing="No perplexity was measured by protocol.",
    section=SECTION,
)
