"""The answer in words: sentences that say what the answer table says, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.report.derived.comparisons import BETTER, NO_DIFFERENCE, WORSE
from attention_arena.report.derived.summary import Summaries, Summary, TaskSummary
from attention_arena.report.wording.brief import brief_answer
from attention_arena.report.wording.cost_words import costs_in_words, speeds_in_words, time_beside
from attention_arena.report.wording.numbers import decimals_for, fixed, spread
from attention_arena.report.wording.phrases import listed

MOST_GROUPS = 6
"""Groups of variants whose verdicts are told in words; the table has them all."""
FEW = 2
"""Tasks that have a sentence each; more are told together."""


def answer_in_words(summaries: Summaries) -> str:
    """Return the answer in two to four sentences; of a study that trains nothing, what costs how much."""
    if not summaries.trains:
        return " ".join(part for part in (*costs_in_words(summaries), _done(summaries)) if part)
    decided = _decided(summaries)
    if len(decided) > FEW:
        return " ".join(brief_answer(summaries))
    sentences = [_sentence(summaries, task, best) for task, best in decided]
    return " ".join(part for part in (*sentences, _progress(summaries)) if part)


def details_in_words(summaries: Summaries) -> list[str]:
    """Return what the answer leaves out: who scores best where, every verdict, the span of times, and what is missing.

    Nothing where the answer has all of it, as that of a study of few tasks.
    """
    decided = _decided(summaries)
    if not summaries.trains or len(decided) <= FEW:
        return []
    sentences = [_who_leads(summaries, decided), _verdicts(summaries), speeds_in_words(summaries), _progress(summaries)]
    return [sentence for sentence in sentences if sentence]


def _decided(summaries: Summaries) -> list[tuple[TaskSummary, Summary]]:
    return [(task, best) for task in summaries.tasks if (best := summaries.best(task)) is not None]


def _sentence(summaries: Summaries, task: TaskSummary, best: Summary) -> str:
    """Say which variant scores best on a task, whether that is shown, and at what time."""
    scored = [cell for cell in summaries.of_task(task) if cell.score is not None]
    assert best.score is not None
    decimals = decimals_for([cell.score.value for cell in scored if cell.score], task.unit == "%")
    parts = [(task.metric or "").replace("_", " "), fixed(best.score.value, decimals)]
    parts += [part for part in (spread(best.score, decimals), "%" if task.unit == "%" else "") if part]
    verb = "scores best" if len(scored) > 1 else "is the only variant with a score"
    sentence = f"On {task.heading}, {summaries.said(best.label)} {verb}: {' '.join(parts)}"
    unbeaten = task.unbeaten(best.score)
    doubt = f" — not shown to beat “{unbeaten[0]}”, which needs no model" if unbeaten else ""
    return sentence + _against(summaries, task, best) + time_beside(summaries, best) + doubt + "."


def _against(summaries: Summaries, task: TaskSummary, best: Summary) -> str:
    """Say how the best stands to the baseline; of the baseline itself, how the others stand to it."""
    if best.baseline:
        return f", and it is the baseline{_others(summaries, task)}"
    if best.verdict is None:
        return ""
    if best.verdict.word is None:
        return f", not compared with {summaries.said_baseline}"
    scope = " for this seed" if best.verdict.n_seeds == 1 else ""
    if best.verdict.word == NO_DIFFERENCE:
        return f", no difference from {summaries.said_baseline} shown{scope}"
    return f", {best.verdict.word} than {summaries.said_baseline}{scope}"


def _others(summaries: Summaries, task: TaskSummary) -> str:
    cells = [cell for cell in summaries.of_task(task) if cell.verdict is not None and cell.verdict.word is not None]
    if not cells:
        return ""
    worse = [summaries.said(cell.label) for cell in cells if cell.verdict and cell.verdict.word == WORSE]
    if not worse:
        return "; no other one is shown to be worse"
    return f"; {listed(worse) if len(worse) <= 3 else f'{len(worse)} of {len(cells)} others'} " + (
        "is shown to be worse" if len(worse) == 1 else "are shown to be worse"
    )


def _who_leads(summaries: Summaries, decided: Sequence[tuple[TaskSummary, Summary]]) -> str:
    led: dict[str, list[str]] = {}
    for task, best in decided:
        led.setdefault(summaries.said(best.label), []).append(task.heading)
    sentence = "; ".join(f"{label} scores best on {listed(tasks)}" for label, tasks in led.items())
    lost = [task.heading for task, best in decided if best.score and task.unbeaten(best.score)]
    if not lost:
        return f"{sentence}."
    where = f"on {listed(lost)}" if len(lost) < len(decided) else "on each of them"
    return f"{sentence} — {where} not shown to beat a score that needs no model."


def _verdicts(summaries: Summaries) -> str:
    """Say on how many tasks each variant is better or worse than the baseline, alike ones together."""
    groups: dict[tuple[int, int, int], list[str]] = {}
    most_seeds = max((cell.verdict.n_seeds for cell in summaries.cells.values() if cell.verdict), default=0)
    for label in summaries.labels:
        words = [cell.verdict.word for cell in summaries.of_label(label) if cell.verdict and cell.verdict.word]
        if words:
            counts = (words.count(BETTER), words.count(WORSE), words.count(NO_DIFFERENCE))
            groups.setdefault(counts, []).append(summaries.said(label))
    if not groups:
        return ""
    ordered = sorted(groups.items(), key=lambda item: (-item[0][0], item[0][1]))
    parts = [_tally(labels, *counts) for counts, labels in ordered[:MOST_GROUPS]]
    more = "; the table has the others" if len(ordered) > MOST_GROUPS else ""
    scope = ", for these trained models of one seed," if most_seeds == 1 else ","
    return f"Against {summaries.said_baseline}{scope} {'; '.join(parts)}{more}."


def _tally(labels: Sequence[str], better: int, worse: int, neither: int) -> str:
    """Say one group's counts: `a and b are better on 2 of 5 tasks, no difference shown on 3`."""
    total = better + worse + neither
    of = f" of {total} task{'s' if total > 1 else ''}"
    told = [f"{word} on {n}" for word, n in (("better", better), ("worse", worse)) if n]
    if not told:
        return f"no difference is shown for {listed(labels)} on {neither}{of}"
    told[0] += of
    told += [f"no difference shown on {neither}"] if neither else []
    return f"{listed(labels)} {'is' if len(labels) == 1 else 'are'} {', '.join(told)}"


def _progress(summaries: Summaries) -> str:
    """Say how much of the study the other sentences rest on, unless it is all of it."""
    total = sum(cell.n_runs for cell in summaries.cells.values())
    scored = sum(cell.n_scored for cell in summaries.cells.values())
    if total == 0:
        return "The study has no runs."
    if scored == total:
        return ""
    missing = sorted({status for cell in summaries.cells.values() for status in cell.reasons})
    opening = f"{scored} of {total} runs have a score" if scored else f"None of the {total} runs has a score"
    return f"{opening} (the others: {', '.join(missing)})."


def _done(summaries: Summaries) -> str:
    total = sum(cell.n_runs for cell in summaries.cells.values())
    done = sum(cell.n_done for cell in summaries.cells.values())
    return "" if done == total else f"{done} of {total} runs are done."
