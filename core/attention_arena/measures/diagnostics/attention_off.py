"""What attention is worth to a trained model: its score on test with the attention of a layer switched off.

Off means that the layer's attention adds nothing to the residual stream; all else stays, the state that it keeps for
later segments included. The model was trained with attention, so a difference says how much it leans on a layer, not
how well a model without that layer could do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from attention_arena.layers import AttentionOutput
from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.capture import Attend, attention_layers, evaluating, intercepted
from attention_arena.measures.diagnostics.examples import first_examples
from attention_arena.measures.passes import rows_or_reason
from attention_arena.model import SequenceModel
from attention_arena.statistics import Interval, mean_interval
from attention_arena.task import Objective
from attention_arena.variant import Context, Options, State

Sums = Mapping[str, Tensor]
"""An objective's sums, by name, one of each example: (N,) float64."""


class AttentionOffOptions(Options):
    """Options of the ablation."""

    examples: int = Field(256, ge=2, description="sequences of the test split")


@contextmanager
def attention_off(model: nn.Module, layers: Collection[int]) -> Iterator[None]:
    """Let the attention of these layers, counted from 0, add nothing inside the block; the model is whole after it."""

    def around(layer: int, attend: Attend, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        output = attend(x, norm, context)
        return output._replace(hidden=torch.zeros_like(output.hidden)) if layer in layers else output

    with intercepted(model, around):
        yield


def score_examples(subject: Subject, examples: int) -> Sums:
    """Return the objective's sums of each of the first `examples` sequences of the test split."""
    model = cast(SequenceModel, subject.trained)
    objective = subject.data.objective
    found: dict[str, list[Tensor]] = defaultdict(list)
    state: State | None = None
    with torch.no_grad(), evaluating(model):
        for batch in first_examples(subject, examples):
            with subject.autocast():
                output = model(batch, state)
                state = output.state
                for row in range(len(batch.tokens)):
                    part = slice(row, row + 1)
                    score = objective.score(model.head, output.hidden[part], batch.rows(row, row + 1))
                    for name, value in score.sums.items():
                        found[name].append(value.cpu())
    return {name: torch.stack(values).double() for name, values in found.items()}


def compared(objective: Objective, sums: Mapping[str, float]) -> float:
    """Return the metric that a study compares."""
    return objective.summarise(sums)[objective.metrics[0].name]


def paired_difference(objective: Objective, off: Sums, intact: Sums) -> Interval:
    """Return the metric's difference, off less intact, with its interval over examples by the jackknife.

    Each example is left out of both in turn (Quenouille 1956; Tukey 1958), which pairs them, and serves any metric of
    sums, perplexity as well. For a mean over examples it is the t interval of their differences.
    """
    n = len(next(iter(off.values())))

    def difference(without: int | None) -> float:
        return compared(objective, _total(off, without)) - compared(objective, _total(intact, without))

    whole = difference(None)
    spread = mean_interval([n * whole - (n - 1) * difference(index) for index in range(n)])
    assert spread.low is not None
    assert spread.high is not None
    half = (spread.high - spread.low) / 2
    # Around the difference itself, which the jackknife's own mean corrects for bias.
    return Interval(whole, whole - half, whole + half, n, "examples")


def _total(sums: Sums, without: int | None) -> dict[str, float]:
    return {name: float(each.sum() - (0.0 if without is None else each[without])) for name, each in sums.items()}


def measure_attention_off(options: AttentionOffOptions, subject: Subject) -> Sequence[Measurement]:
    """Return scores with attention off, layer by layer ("layer off") and everywhere ("all off"), beside "intact".

    `attention_off_score` is the metric that the study compares, over the first `examples` sequences of test;
    `attention_off` its difference to the intact model's, in points where it is a percentage. Unsupported where the
    backbone is no stack of attention.
    """
    metric = subject.data.objective.metrics[0]
    score = Measurement("attention_off_score", "intact", None, metric.unit, higher_is_better=metric.higher_is_better)
    difference = Measurement("attention_off", "all off", None, "points" if metric.unit == "%" else metric.unit)
    n_layers = len(attention_layers(subject.trained))
    cells = [("layer off", layer) for layer in range(n_layers)] + [("all off", None)]
    blank = [score, *(difference._replace(phase=phase, layer=layer) for phase, layer in cells)]
    if not n_layers:
        reason = f"the backbone of {subject.contender.variant.name} is no stack of attention layers to switch off"
        return [row.without("unsupported", reason) for row in blank]
    return rows_or_reason(blank, partial(_rows, options, subject, blank))


def _rows(options: AttentionOffOptions, subject: Subject, blank: Sequence[Measurement]) -> Sequence[Measurement]:
    objective, (score, *cells) = subject.data.objective, blank
    intact = score_examples(subject, options.examples)
    n = len(next(iter(intact.values())))
    rows = [score._replace(value=compared(objective, _total(intact, None)), samples=n)]
    everywhere = range(len(cells) - 1)
    for cell in cells:
        with attention_off(subject.trained, everywhere if cell.layer is None else [cell.layer]):
            off = score_examples(subject, options.examples)
        rows.append(
            score._replace(phase=cell.phase, layer=cell.layer, value=compared(objective, _total(off, None)), samples=n)
        )
        found = paired_difference(objective, off, intact)
        rows.append(cell._replace(value=found.value, low=found.low, high=found.high, samples=n))
    return rows


ATTENTION_OFF = Measure(
    name="attention_off",
    summary="the score on test with the attention of each layer, and of all, switched off, and what that changes",
    options=AttentionOffOptions,
    run=measure_attention_off,
    needs_training=True,
)
