"""Lay a profile over a study, and one block over another.

Mappings merge key by key, anything else is replaced. Under `tasks`, `variants` and `measure` a profile may write a
mapping instead of a list: its keys name entries of the study's list, its values merge into them, and null drops one.
"""

from __future__ import annotations

from collections.abc import Callable

from attention_arena.spelling import unknown_name
from attention_arena.study.validation import Problems, shown
from attention_arena.study.yaml_lines import Found

FIXED = ("name", "profile", "profiles")
"""Keys that a profile may not change."""
BY_NAME = {"tasks": "task", "variants": "variant"}


def merge(base: Found, over: Found) -> Found:
    """Return `base` with `over` laid upon it; what is new keeps its own place in the file."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if not over.value:
        return base
    merged = dict(base.value)
    for key, value in over.value.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return Found(merged, over.line, over.path)


def spell_out(tree: Found) -> Found:
    """Return the study with the short forms of its entries written in full."""
    changed = dict(tree.items())
    for key in BY_NAME:
        changed |= _each(tree, key, _named)
    changed |= _each(tree, "measure", _measure)
    return Found(changed, tree.line, tree.path)


def apply_profile(tree: Found, profile: Found, problems: Problems) -> Found:
    """Return the study, its short forms spelt out, with a profile laid over it."""
    changed = dict(tree.items())
    for key, value in profile.items():
        base = changed.get(key)
        if key in FIXED:
            problems.add(value, f"a profile cannot change {key}")
        elif base is None:
            changed[key] = value
        elif isinstance(base.value, list) and isinstance(value.value, dict) and key in BY_NAME:
            changed[key] = Found(_change_entries(base, value, BY_NAME[key], problems), base.line, base.path)
        elif isinstance(base.value, list) and isinstance(value.value, dict) and key == "measure":
            changed[key] = Found(_change_measures(base, value, problems), base.line, base.path)
        else:
            changed[key] = merge(base, value)
    return spell_out(Found(changed, tree.line, tree.path))


def _each(tree: Found, key: str, change: Callable[[Found], Found]) -> dict[str, Found]:
    entries = tree.child(key)
    if entries is None or not isinstance(entries.value, list):
        return {}
    return {key: Found([change(entry) for entry in entries.value], entries.line, entries.path)}


def _named(entry: Found) -> Found:
    """Return `listops` as `name: listops`, and an entry's own measures in full."""
    if isinstance(entry.value, str):
        return Found({"name": entry}, entry.line, entry.path)
    if not isinstance(entry.value, dict):
        return entry
    return Found({**entry.value, **_each(entry, "measure", _measure)}, entry.line, entry.path)


def _measure(entry: Found) -> Found:
    """Return `speed`, and `speed:` with nothing after it, as `speed: {}`."""
    if isinstance(entry.value, str):
        return Found({entry.value: Found({}, entry.line, entry.path)}, entry.line, entry.path)
    if isinstance(entry.value, dict):
        options = {
            name: Found({}, each.line, each.path) if each.value is None else each for name, each in entry.items()
        }
        return Found(options, entry.line, entry.path)
    return entry


def _change_entries(entries: Found, changes: Found, kind: str, problems: Problems) -> list[Found]:
    changed: list[Found | None] = list(entries.elements())
    for name, change in changes.items():
        chosen = _called(entries.elements(), name)
        if not chosen:
            known = {str(each.plain()) for entry in entries.elements() if (each := entry.child("name")) is not None}
            problems.add(change, unknown_name(f"{kind} of this study", name, known))
        elif not (change.value is None or isinstance(change.value, dict)):
            problems.add(change, f"expected a mapping to merge, or null to leave it out, got {shown(change.plain())}")
        for index in chosen:
            entry = changed[index]
            if change.value is None:
                changed[index] = None
            elif entry is not None and isinstance(change.value, dict):
                merged = merge(entry, change)
                changed[index] = Found(merged.value, entry.line, entry.path)
    return [entry for entry in changed if entry is not None]


def _called(entries: list[Found], name: str) -> list[int]:
    """Return where the entries labelled `name` are, or else those named so."""
    for key in ("label", "name"):
        chosen = [
            index
            for index, entry in enumerate(entries)
            if (each := entry.child(key)) is not None and each.value == name
        ]
        if chosen:
            return chosen
    return []


def _change_measures(entries: Found, changes: Found, problems: Problems) -> list[Found]:
    """Return the measures with changed options, then those that the study does not have yet."""
    changed = []
    for entry in entries.elements():
        [name] = dict(entry.items()) if len(entry.items()) == 1 else [""]
        change = changes.child(name)
        if change is None:
            changed.append(entry)
        elif change.value is not None:
            changed.append(Found({name: merge(entry.mapping(name), change)}, entry.line, entry.path))
    known = {name for entry in entries.elements() for name, _ in entry.items()}
    for name, change in changes.items():
        if name in known:
            continue
        if change.value is None:
            problems.add(change, unknown_name("measure of this study", name, known))
        else:
            changed.append(Found({name: change}, change.line, change.path))
    return changed
