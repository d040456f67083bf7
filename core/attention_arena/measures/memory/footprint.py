"""Memory of a training step and of inference, each part apart, at several lengths.

Each cell is measured in a process of its own (`measure.Apart`), which does its pass twice: once so that code is loaded,
the libraries have their work areas and AdamW its state, and once to be measured. Rows, all in bytes:

- `saved_for_backward`: what autograd keeps between forward and backward, counted from its tensors, parameters and batch
  apart. The same on every machine. What a custom function keeps without `save_for_backward` is not seen.
- `peak_resident` (CPU): how far the resident set rose during the pass above its level with the model, the batch and the
  optimiser in place. Gradients of a training step count, as they come and go with it. Memory is returned to the system
  as soon as it is freed, so a peak is of what is alive at one time; what libraries hold for good does not count.
- `peak_memory` (GPU): the same of PyTorch's allocated memory.
- `reserved_memory` (GPU): the most that PyTorch had taken from the device during the pass, the model and the optimiser
  included, because what it reserves cannot be told apart.
- `parameter_memory`, `gradient_memory`, `optimizer_memory`: parameters and buffers; gradients after a step; AdamW's
  state. Counted from the tensors, each storage once.
- `state_bytes`: what the backbone hands on to the next segment for one sequence (`BackboneOutput.state`); 0 where it
  keeps nothing. Decoding step by step keeps something else, which is measured with its speed.

Where a cell runs out of memory or time, what does not depend on its batch (the last two points) is told by a smaller
one, in another process, and `detail` says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from pydantic import Field

from attention_arena.allocator import return_what_is_freed
from attention_arena.measure import Answer, Measure, Measurement, Subject
from attention_arena.measures.apart import run_apart
from attention_arena.measures.memory.counting import saved_for_backward, storage_bytes, tensors_in
from attention_arena.measures.memory.resident import resident_growth
from attention_arena.measures.passes import Lengths, Passes, batch_size_for
from attention_arena.variant import Options

Phase = Literal["inference", "training"]
HELD = ("parameter_memory", "gradient_memory", "optimizer_memory")
SHORT = 16
"""Tokens of a step that any model has memory for."""


class MemoryOptions(Options):
    """Options of the memory measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")
    tokens_per_step: int | None = Field(
        None, ge=1, description="tokens in a batch, the same at every length; null takes the run's batch size"
    )
    phases: list[Phase] = Field(
        list(get_args(Phase)), min_length=1, description="a forward pass, a whole training step, or both"
    )
    max_seconds: float | None = Field(
        120, gt=0, description="longest time for one length and phase, beyond which it is ended; null waits"
    )


def measure_memory(options: MemoryOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the rows of this module's docstring at each length and in each phase."""
    rows: list[Measurement] = []
    for length in options.lengths or [subject.length]:
        size = subject.batch_size
        if options.tokens_per_step is not None:
            size = batch_size_for(subject, options.tokens_per_step, length)
        for phase in dict.fromkeys(options.phases):
            rows += _measure_cell(subject, phase, size, length, options.max_seconds)
    return rows


def _measure_cell(
    subject: Subject, phase: Phase, batch_size: int, length: int, seconds: float | None
) -> Sequence[Measurement]:
    peaks = ("peak_memory", "reserved_memory") if subject.device.type == "cuda" else ("peak_resident",)
    names = ("saved_for_backward", *peaks, *HELD) if phase == "training" else (*peaks, "state_bytes")
    sizes = {"state_bytes": 1}
    blank = [
        Measurement(name, phase, None, "bytes", length, sizes.get(name, batch_size), higher_is_better=False)
        for name in names
    ]
    whole, alone = (
        (footprint_of_training, held_between_steps) if phase == "training" else (footprint_of_inference, state_of_one)
    )
    found = run_apart(subject, whole, {"batch_size": batch_size, "length": length}, seconds)
    known = found
    if found.status in ("oom", "timeout"):
        known = run_apart(subject, alone, {"length": length}, seconds)
    return [_filled(row, found, known) for row in blank]


def _filled(row: Measurement, found: Answer, known: Answer) -> Measurement:
    """Fill a row from the cell's answer, or where it has none from what is `known` without its batch."""
    if found.status == "done":
        return row._replace(value=found.value[row.measure])
    if known.status == "done" and row.measure in known.value:
        return row._replace(value=known.value[row.measure], detail=f"told by a smaller batch; this one: {found.status}")
    return row.without(found.status, found.detail or found.status)


def footprint_of_inference(subject: Subject, batch_size: int, length: int) -> dict[str, int]:
    """Return the peaks of a forward pass, and the state that one sequence leaves."""
    return_what_is_freed()
    passes = Passes(subject, batch_size, length)
    passes.inference()
    peaks = peaks_of(passes.inference, subject.device)
    return {**peaks, **_state(passes)}


def state_of_one(subject: Subject, length: int) -> dict[str, int]:
    """Return the state that one sequence leaves."""
    passes = Passes(subject, 1, length)
    passes.model.eval()
    return _state(passes)


def _state(passes: Passes) -> dict[str, int]:
    with torch.no_grad(), passes.autocast():
        state = passes.model(passes.batch.rows(0, 1)).state
    return {"state_bytes": storage_bytes(tensors_in(state))}


def footprint_of_training(subject: Subject, batch_size: int, length: int) -> dict[str, int]:
    """Return what a training step keeps for backward, its peaks, and what it holds from step to step."""
    return_what_is_freed()
    passes = Passes(subject, batch_size, length)
    own = [*passes.model.parameters(), *passes.model.buffers()]
    saved = saved_for_backward(passes.loss, [*own, *(part for part in passes.batch if part is not None)])
    held = _held(passes)
    passes.model.zero_grad(set_to_none=True)
    return {"saved_for_backward": saved, **held, **peaks_of(passes.step, subject.device)}


def held_between_steps(subject: Subject, length: int) -> dict[str, int]:
    """Return what a training step holds from step to step, by one on a few tokens of a model for `length`."""
    passes = Passes(subject, 1, length)
    passes.batch = subject.synthetic_batch(1, min(length, SHORT))
    return _held(passes)


def _held(passes: Passes) -> dict[str, int]:
    """Take a step, and return the bytes of parameters and buffers, of gradients, and of the optimiser's state."""
    passes.step()
    assert passes.optimizer is not None
    parameters = list(passes.model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    state = itertools.chain.from_iterable(tensors_in(entry) for entry in passes.optimizer.state.values())
    own = itertools.chain(parameters, passes.model.buffers())
    return dict(zip(HELD, map(storage_bytes, (own, gradients, state)), strict=True))


def peaks_of(function: Callable[[], object], device: torch.device) -> Mapping[str, int]:
    """Return the peaks of memory while `function` runs, by the names of their rows."""
    if device.type != "cuda":
        return {"peak_resident": resident_growth(function)}
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    level = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return {
        "peak_memory": torch.cuda.max_memory_allocated(device) - level,
        "reserved_memory": torch.cuda.max_memory_reserved(device),
    }


MEMORY = Measure(
    name="memory",
    summary="bytes of a training step and of inference: kept for backward, at the peak, and held from step to step",
    options=MemoryOptions,
    run=measure_memory,
)
