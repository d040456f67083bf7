"""How reports name tasks and data: apart where two would look alike, and never a stand-in as the official task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

TaskKey = tuple[str, str | None]
"""A task's name and its options as JSON."""


def task_labels(keys: Iterable[TaskKey]) -> dict[TaskKey, str]:
    """Return a label for every task: its name, with the options that tell it apart from a namesake."""
    options_of: dict[str, list[str | None]] = defaultdict(list)
    for task, options in keys:
        if options not in options_of[task]:
            options_of[task].append(options)
    labels: dict[TaskKey, str] = {}
    for task, found in options_of.items():
        known = [each for each in found if each is not None]
        for options in found:
            labels[task, options] = task if options is None or len(known) < 2 else _apart(task, options, known)
    return labels


def _apart(task: str, options: str, rivals: list[str]) -> str:
    parsed = [json.loads(each) for each in rivals]
    mine = json.loads(options)
    varying = [key for key in mine if len({_canonical(each, key) for each in parsed}) > 1]
    return f"{task} ({', '.join(f'{key}={_plain(mine[key])}' for key in varying)})" if varying else task


def _canonical(options: Mapping[str, Any], key: str) -> str:
    return json.dumps(options.get(key), sort_keys=True)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def source_mark(kind: str | None) -> str:
    """Return what a task's heading adds about its data: nothing for the official ones."""
    return "" if kind in (None, "official") else f" ({'user data' if kind == 'user' else kind})"
