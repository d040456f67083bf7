"""A function in a fresh process where the run can have one, or here; what goes wrong is a status and a reason."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from attention_arena.measure import Answer, Subject
from attention_arena.measures.passes import reason_for


def run_apart(
    subject: Subject, function: Callable[..., Any], arguments: Mapping[str, Any], seconds: float | None = None
) -> Answer:
    """Return what became of `function(subject, **arguments)` in a process of its own; see `measure.Apart`.

    Where the subject has no way to start one, the function runs in this process, and `seconds` does not bind it.
    """
    if subject.apart is not None:
        if subject.device.type == "cuda":
            # The two processes share the GPU, and what this one keeps for later use the other could not have.
            torch.cuda.empty_cache()
        return subject.apart(function, arguments, seconds)
    answer = attempt(lambda: function(subject, **arguments))
    # Only here, where the traceback no longer holds the tensors of what failed.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return answer


def attempt(call: Callable[[], Any]) -> Answer:
    """Return the answer of `call`; an exception is an answer too, and the traceback of a failure goes to the log."""
    try:
        return Answer("done", call())
    # Whatever a plugin raises costs this cell alone.
    except Exception as error:
        reason = reason_for(error)
        if reason.status == "failed":
            traceback.print_exc()
        return Answer(reason.status, detail=reason.detail)
