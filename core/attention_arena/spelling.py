"""What to say of a name that nothing has."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 20
"""Known names that a message lists before it stops."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `unknown variant 'refomer'; did you mean 'reformer'? known: ...`."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"did you mean '{close[0]}'? " if close else ""
    listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return f"unknown {kind} {name!r}; {meant}known: {listed or 'none'}"
