"""The answer in words: one to three sentences that say what the answer table says, and nothing more."""

from __future__ import annotations

from attention_arena.report.numbers import decimals_for, fixed, ratio, spread
from attention_arena.report.summary import Summaries, Summary, TaskSummary


def answer_in_words(summaries: Summaries) -> str:
    """Return the answer in words."""
    decided = [(task, best) for task in summaries.tasks if (best := summaries.best(task)) is not None]
    if len(decided) <= 2:
        sentences = [_sentence(summaries, task, best) for task, best in decided]
    else:
        sentences = [_who_leads(summaries, decided), _speeds(summaries)]
    return " ".join(part for part in (*sentences, _progress(summaries)) if part)


def _sentence(summaries: Summaries, task: TaskSummary, best: Summary) -> str:
    """Say which variant scores best on a task, how surely, and at what speed."""
    scored = [cell for cell in summaries.of_task(task) if cell.score is not None]
    assert best.score is not None
    decimals = decimals_for([cell.score.value for cell in scored if cell.score], task.unit == "%")
    parts = [(task.metric or "").replace("_", " "), fixed(best.score.value, decimals)]
    parts += [part for part in (spread(best.score, decimals), "%" if task.unit == "%" else "") if part]
    number = " ".join(parts)
    verb = "scores best" if len(scored) > 1 else "is the only variant with a score"
    sentence = f"On {task.heading}, {best.label} {verb}: {number}{_speed(summaries, best)}"
    return sentence + _doubts(task, best, scored) + "."


def _speed(summaries: Summaries, best: Summary) -> str:
    if best.baseline:
        return ", and it is the baseline"
    speed = summaries.speed_ratio(best.label, best.task)
    if speed is None:
        return ""
    return f", at {ratio(speed)} the training throughput of {summaries.baseline}"


def _doubts(task: TaskSummary, best: Summary, scored: list[Summary]) -> str:
    assert best.score is not None
    doubt = _doubt_in_the_lead(best, scored)
    unbeaten = task.unbeaten(best.score.value)
    if unbeaten:
        doubt = f"not better than “{unbeaten[0]}”, which needs no model" + (f", and {doubt}" if doubt else "")
    return f" — {doubt}" if doubt else ""


def _doubt_in_the_lead(best: Summary, scored: list[Summary]) -> str:
    assert best.score is not None
    rivals = [cell for cell in scored if cell is not best]
    tied = _tied(best, scored)
    if tied:
        return f"not distinguishable from {_list(tied)}"
    unknown = [cell.label for cell in rivals if cell.score and best.score.overlaps(cell.score) is None]
    return "though one seed without an interval leaves open whether the difference is real" if unknown else ""


def _tied(best: Summary, scored: list[Summary]) -> list[str]:
    return [
        cell.label
        for cell in scored
        if cell is not best and best.score and cell.score and best.score.overlaps(cell.score)
    ]


def _who_leads(summaries: Summaries, decided: list[tuple[TaskSummary, Summary]]) -> str:
    led: dict[str, list[str]] = {}
    for task, best in decided:
        led.setdefault(best.label, []).append(task.heading)
    parts = [f"{label} scores best on {_list(tasks)}" for label, tasks in led.items()]
    sentence = "; ".join(parts)
    close = [task.heading for task, best in decided if _tied(best, summaries.of_task(task))]
    lost = [task.heading for task, best in decided if best.score and task.unbeaten(best.score.value)]
    doubts = [f"{_on(close, len(decided))} not distinguishably from the next"] if close else []
    doubts += [f"{_on(lost, len(decided))} no better than a score that needs no model"] if lost else []
    return sentence + (f" — {', and '.join(doubts)}" if doubts else "") + "."


def _speeds(summaries: Summaries) -> str:
    speeds = {
        label: speed
        for label in summaries.labels
        if label != summaries.baseline and (speed := summaries.speed_ratio(label)) is not None
    }
    if not speeds:
        return ""
    slow, fast = min(speeds, key=lambda label: speeds[label]), max(speeds, key=lambda label: speeds[label])
    if slow == fast:
        return f"{fast} trains at {ratio(speeds[fast])} the throughput of {summaries.baseline}."
    return (
        f"Against {summaries.baseline}, training throughput runs from {ratio(speeds[slow])} ({slow}) "
        f"to {ratio(speeds[fast])} ({fast})."
    )


def _progress(summaries: Summaries) -> str:
    """Say how much of the study the other sentences rest on, unless it is all of it."""
    total = sum(cell.n_runs for cell in summaries.cells.values())
    missing: dict[str, int] = {}
    scored = 0
    for cell in summaries.cells.values():
        scored += cell.n_scored
        for status in cell.reasons:
            missing[status] = missing.get(status, 0) + 1
    if total == 0:
        return "The study has no runs."
    if scored == total:
        return ""
    opening = f"{scored} of {total} runs have a score" if scored else f"None of the {total} runs has a score"
    return f"{opening} (the others: {', '.join(sorted(missing))})."


def _on(tasks: list[str], total: int) -> str:
    return f"on {_list(tasks)}" if len(tasks) < total else "on each of them"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
