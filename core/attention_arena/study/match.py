"""Give every variant of a study the baseline's budget of parameters or FLOPs, by the width of its feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from attention_arena.study.budgets import BUDGETS, Budget, Count, Nearest, What, nearest
from attention_arena.study.expand import ChosenVariant
from attention_arena.study.fit import shape_for
from attention_arena.study.plan import Match, PlannedRun
from attention_arena.study.validation import Problems, shown
from attention_arena.study.yaml_lines import Found
from attention_arena.variant import ModelSettings, ModelShape

OUTSIDE = ("d_model", "d_classifier", "pooling")
"""Keys of the model block that size embedding and head, which are not counted and so must be the baseline's."""
WAYS_OUT = "mark one variant with `baseline: true`, or write `match: shape`"


class Matched(NamedTuple):
    """What came of matching one variant on one task; a reason where it cannot be done."""

    model: ModelSettings | None = None
    match: Match | None = None
    reason: str | None = None


def check_match(tree: Found, variants: Sequence[ChosenVariant], problems: Problems) -> None:
    """Note what in a study's file contradicts its `match`."""
    key = tree.child("match")
    if key is None or key.value not in BUDGETS:
        return
    baseline = next((variant for variant in variants if variant.baseline), None)
    if baseline is None:
        problems.add(key, f"{key.value!r} needs a baseline whose budget is matched; {WAYS_OUT}")
        return
    for variant in variants:
        if variant is baseline or variant.variant.reference:
            continue
        given = variant.model.child("d_ff")
        if given is not None:
            problems.add(
                given, f"got {given.value}, but `match: {key.value}` finds d_ff for {variant.label}; leave it out"
            )
        for name in OUTSIDE:
            own, theirs = variant.model.child(name), baseline.model.child(name)
            at = own or theirs
            if at is not None and (own and own.value) != (theirs and theirs.value):
                message = f"got {shown(at.value)}, but {name} sizes embedding or head, which `match: {key.value}` wants"
                problems.add(at, f"{message} alike in all variants; set it in the study's model block")


def match_runs(runs: Sequence[PlannedRun], what: What) -> tuple[PlannedRun, ...]:
    """Return the runs with each variant's d_ff such that its budget is the baseline's on the same task.

    A run whose budget cannot be matched is unsupported, with the counts and the way out. A variant that is a reference
    for cost keeps the shared shape.
    """
    baselines = {run.task_key: run for run in runs if run.baseline}
    ledger = Ledger(BUDGETS[what])
    found: dict[tuple[tuple[str, str], str], Matched] = {}
    matched = []
    for run in runs:
        if run.baseline or run.variant.reference or run.unsupported is not None:
            matched.append(run)
            continue
        key = (run.task_key, run.label)
        if key not in found:
            found[key] = _match(run, baselines[run.task_key], what, ledger)
        matched.append(_replaced(run, found[key]))
    return tuple(matched)


class Ledger:
    """Counts of one budget, each taken once: tasks of one length and direction share them."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.counts: dict[tuple[str, str, str, int], Count] = {}

    def count(self, run: PlannedRun) -> Count:
        """Return what a run's model counts, by its d_ff."""
        shape, n_sequences = _example(run)
        key = (run.variant.name, run.variant_options.model_dump_json(), shape.model_dump_json(), n_sequences)
        if key not in self.counts:
            self.counts[key] = cache(self.budget.counter(run.variant, run.variant_options, shape, n_sequences))
        return self.counts[key]


def _match(run: PlannedRun, baseline: PlannedRun, what: What, ledger: Ledger) -> Matched:
    budget = ledger.budget
    if baseline.unsupported is not None:
        return Matched(reason=f"the baseline has no {budget.noun} to match here: {baseline.unsupported}")
    try:
        target = ledger.count(baseline)(baseline.model.d_ff)
        found = nearest(ledger.count(run), target, run.model.d_ff, budget.per_unit(*_example(run)))
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return Matched(reason=f"its {budget.noun} could not be counted: {type(error).__name__}: {error}")
    gap = (found.reached - target) / target
    if abs(gap) > budget.tolerance:
        return Matched(reason=_out_of_reach(run, baseline, budget, found, target))
    match = Match(what, baseline.label, run.model.d_ff, found.d_ff, gap)
    return Matched(_with_width(run, found.d_ff, baseline.model.classifier_width), match)


def _example(run: PlannedRun) -> tuple[ModelShape, int]:
    """Return the backbone's shape and how many sequences one example of the task has."""
    needs = run.task.needs(run.task_options)
    return shape_for(run.model, needs), needs.n_sequences


def _with_width(run: PlannedRun, d_ff: int, classifier_width: int) -> ModelSettings:
    """Return the run's shape with another d_ff, and its classifier as wide as the baseline's."""
    changed = run.model.model_copy(update={"d_ff": d_ff})
    if changed.classifier_width == classifier_width:
        return changed
    return changed.model_copy(update={"d_classifier": classifier_width})


def _replaced(run: PlannedRun, found: Matched) -> PlannedRun:
    if found.model is None:
        return replace(run, unsupported=found.reason)
    departures = [each for each in run.departs_from_shape if not each.startswith("d_ff=")]
    if found.model.d_ff != run.model.d_ff:
        departures.append(f"d_ff={found.model.d_ff}")
    return replace(run, model=found.model, match=found.match, departs_from_shape=tuple(departures))


def _out_of_reach(run: PlannedRun, baseline: PlannedRun, budget: Budget, found: Nearest, target: int) -> str:
    allowed = f"within {100 * budget.tolerance:g} % of {baseline.label}'s {target:,} {budget.noun}"
    nearby = f"{run.label} cannot come {allowed} on {run.task.name}: with d_ff {found.d_ff} it has {found.reached:,}"
    if found.d_ff == 1:
        return f"{nearby}; give it smaller options, or the baseline a larger d_ff, or use match: shape"
    return f"{nearby}, and no d_ff comes nearer; widen the shared model, or use match: shape"
