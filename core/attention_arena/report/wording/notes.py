"""What the marks of the answer table mean, as far as it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attention_arena.report.derived.averages import Average
from attention_arena.report.derived.summary import Summaries
from attention_arena.report.rows.cells import Row
from attention_arena.report.wording.phrases import listed


def notes_of(
    rows: Sequence[Row], summaries: Summaries, marks: Mapping[str, str], means: Sequence[Average]
) -> list[str]:
    """Return the notes below the answer table, in the order in which a reader needs them."""
    notes = ["↑: higher is better. ↓: lower is better."]
    if summaries.trains:
        notes += [*_of_intervals(summaries), *_of_verdicts(summaries)]
    cells = [cell for row in rows for cell in row.cells]
    if any(cell.best for cell in cells):
        notes.append("Bold: the highest mean of a task, or the lowest where that is better, proven or not.")
        notes += _near(summaries)
    notes += _unmarked(summaries)
    if any("at chance" in cell.flag for cell in cells):
        notes.append("At chance: the run’s own interval is not above any score that needs no model.")
    used = {cell.mark for cell in cells}
    notes += [
        f"{mark}: not shown to beat “{name}”, which needs no model." for name, mark in marks.items() if mark in used
    ]
    notes += [f"{mean.name[0].upper()}{mean.name[1:]}: {mean.definition}" for mean in means]
    if summaries.time_ratios:
        notes.append(
            "Time to the baseline’s: both measured by turns in one process, so that a busy machine slows both; below "
            "1× is faster. [low, high]: its 95 % interval."
        )
    if len(summaries.tasks) > 1:
        told = f"Costs are geometric means over the {len(summaries.tasks)} tasks"
        notes.append(f"{told}; the cost section has them one by one.")
    return notes


def _near(summaries: Summaries) -> list[str]:
    """Say what is underlined, and what could not be."""
    marked = [task for task in summaries.tasks if not summaries.all_at_chance(task)]
    cells = [cell for task in marked for cell in summaries.of_task(task) if cell.score is not None]
    verdicts = [cell.against_best for cell in cells if cell.against_best is not None]
    missing = sum(verdict.word is None for verdict in verdicts)
    if not verdicts:
        return []
    if missing == len(verdicts):
        return ["Beside the bold ones, no score is marked: none was compared with its task’s best example by example."]
    alone = any(verdict.n_seeds == 1 for verdict in verdicts)
    text = (
        "Underlined (in Markdown, italic): not shown to be worse than the bold one on the same examples and seeds. "
        f"With 95 % confidence the truly best{' of these trained models' if alone else ''} is bold or underlined."
    )
    return [f"{text} {missing} could not be compared with the bold one." if missing else text]


def _unmarked(summaries: Summaries) -> list[str]:
    silent = [task.label for task in summaries.tasks if summaries.all_at_chance(task) and summaries.best(task)]
    return [f"No score is marked as best on {listed(silent)}, where all are at chance."] if silent else []


def _of_intervals(summaries: Summaries) -> list[str]:
    scores = [each.score for each in summaries.cells.values() if each.score is not None]
    seeds = sorted({score.n for score in scores if score.basis.startswith("seeds")})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}" if seeds else ""
    bases = {score.basis for score in scores}
    notes = []
    if bases - {"none"}:
        notes.append("± or [low, high]: the 95 % interval.")
    if "seeds and examples" in bases:
        notes[-1] += f" It is for another training and another test set, from {span} seeds and their test examples."
    if "seeds" in bases:
        notes[-1] += (
            f" Where no examples are on record, Student’s t over {span} seeds, blind to the choice of examples."
        )
    if "examples" in bases:
        notes[-1] += " Of one seed it comes from test examples alone, and is blind to the spread of seeds."
    if "none" in bases:
        notes.append("A score without an interval comes from one seed.")
    return notes


def _of_verdicts(summaries: Summaries) -> list[str]:
    verdicts = [each.verdict for each in summaries.cells.values() if each.verdict is not None]
    compared = [verdict for verdict in verdicts if verdict.word is not None]
    if not verdicts:
        return []
    if not compared:
        return [f"No score was compared with {summaries.baseline}’s example by example; the reasons are below."]
    text = (
        f"Better, worse, or ∼ for no difference shown: against {summaries.baseline} on the same examples and seeds, "
        f"at 5 % after Holm’s correction for {len(compared)} comparison{'s' if len(compared) > 1 else ''}."
    )
    if any(verdict.n_seeds == 1 for verdict in compared):
        text += " With one seed a verdict is about these trained models, and not about another training."
    if len(compared) < len(verdicts):
        text += f" {len(verdicts) - len(compared)} could not be compared; the reasons are below."
    return [text]
