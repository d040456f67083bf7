"""Relative effective context length (RECL; Dai et al. 2019, section 4.3): models compared on the tokens hard for all.

N tokens, C contexts, M models. For models i with loss l_i(c, t) in nats on token t given context c, the baseline is
b(c, t) = min_i l_i(c, t), the best of the group. T are the tokens with the greatest b(c, t). With
f_i(c, c') = mean over T of min(b(c, t), l_i(c', t)), a longer context c' gains the share
(exp f_i(c, c) - exp f_i(c, c')) / exp f_i(c, c). A model's RECL is the context at which the next one gains less than
1 %. Contexts here double, where the paper steps evenly. A model that reads no further than some context keeps its loss
there for longer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from attention_arena.report.derived.language_models import labelled
from attention_arena.report.reading.results import Results

THRESHOLD = 0.01
SHARES = (0.1, 1.0)
"""Of the tokens, the hardest first (r in the paper)."""
COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "hardest": pl.Float64,
    "tokens": pl.Int64,
    "at_least": pl.Boolean,
    "models": pl.Int64,
    "targets": pl.Int64,
}
Losses = Mapping[int, npt.NDArray[np.float64]]
"""Context -> nats (N,)."""


def relative_contexts(results: Results) -> pl.DataFrame:
    """Return each variant's RECL on each task among the variants that were measured on the same tokens there.

    `hardest` is the share of tokens that counts, `tokens` the length, `at_least` true where the longest context still
    gained; `models` and `targets` say how many were compared on how many tokens. A lone model is not compared.
    """
    rows: list[dict[str, Any]] = []
    for task, group in _groups(results).items():
        if len(group) < 2:
            continue
        for share in SHARES:
            for label, (tokens, at_least) in relative_context_lengths(group, share).items():
                targets = len(next(iter(group[label].values())))
                found = [task, label, share, tokens, at_least, len(group), targets]
                rows.append(dict(zip(COLUMNS, found, strict=True)))
    return pl.DataFrame(rows, COLUMNS)


def relative_context_lengths(models: Mapping[str, Losses], share: float) -> dict[str, tuple[int, bool]]:
    """Return each model's RECL by the hardest `share` of the tokens, and whether the longest context still gained."""
    contexts = sorted({context for losses in models.values() for context in losses})
    kept = {label: [_at(losses, context) for context in contexts] for label, losses in models.items()}  # M of (C, N)
    best = np.min([*kept.values()], axis=0)  # (C, N)
    return {
        label: _length(contexts, np.array(losses), best, share, last=contexts.index(max(models[label])))
        for label, losses in kept.items()
    }


def _length(
    contexts: list[int], losses: npt.NDArray[np.float64], best: npt.NDArray[np.float64], share: float, last: int
) -> tuple[int, bool]:
    for i in range(last):
        n_hard = max(1, round(share * best.shape[1]))
        hard = np.argsort(-best[i], kind="stable")[:n_hard]
        before, after = best[i][hard].mean(), np.minimum(best[i], losses[i + 1])[hard].mean()
        if -np.expm1(after - before) < THRESHOLD:
            return contexts[i], False
    return contexts[last], last > 0


def _at(losses: Losses, context: int) -> npt.NDArray[np.float64]:
    """Return the loss given `context`, or the longest context of the model below it."""
    return losses[max(known for known in losses if known <= context)]


def _groups(results: Results) -> dict[str, dict[str, Losses]]:
    """Return, by task, the losses of the variants that were measured on the tokens of the first one."""
    groups: dict[str, dict[str, Losses]] = {}
    first: dict[str, tuple[str, npt.NDArray[Any]]] = {}
    measured = results.measurements.filter((pl.col("measure") == "effective_context") & pl.col("value").is_not_null())
    runs = labelled(results, measured).unique(("study", "profile", "run"), maintain_order=True)
    for task, label, *run in runs.select("task", "label", "study", "profile", "run").iter_rows():
        arrays = results.arrays(*run)
        for name in sorted(name for name in arrays if name.startswith("context_targets.")):
            key = name.partition(".")[2]
            known, targets = first.setdefault(task, (key, arrays[name]))
            if known == key and np.array_equal(targets, arrays[name]) and f"context_losses.{key}" in arrays:
                lengths, losses = arrays[f"context_lengths.{key}"], arrays[f"context_losses.{key}"]
                pairs = zip(lengths.tolist(), losses.astype(np.float64), strict=True)
                groups.setdefault(task, {}).setdefault(label, dict(pairs))
    return groups
