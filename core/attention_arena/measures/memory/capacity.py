"""The largest batch and the largest length whose pass fits a budget of memory, as in Linformer's table of speed-ups.

Every size is tried in a process of its own (`measure.Apart`). What must fit on a CPU is the model, AdamW's state, the
batch, and how far the resident set rises while the batch is made and passed, gradients included; the interpreter and
the libraries do not count. On a GPU, PyTorch may reserve no more than the budget; the device's context does not count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field

from attention_arena.allocator import return_what_is_freed
from attention_arena.measure import Answer, Measure, Measurement, Subject
from attention_arena.measures.apart import run_apart
from attention_arena.measures.memory.counting import storage_bytes, tensors_in
from attention_arena.measures.memory.footprint import Phase
from attention_arena.measures.memory.resident import resident_growth, room_for_data
from attention_arena.measures.memory.search import Search
from attention_arena.measures.passes import Lengths, Passes
from attention_arena.variant import Options

GIB = 2**30


class CapacityOptions(Options):
    """Options of the capacity measure."""

    budget_gib: float = Field(1.0, gt=0, description="memory that a pass may take, in GiB")
    what: list[Literal["batch", "length"]] = Field(
        ["batch", "length"],
        min_length=1,
        description="what to enlarge: the batch at each of `lengths`, the length of one sequence, or each",
    )
    lengths: Lengths = Field(None, description="tokens in a sequence of `batch`; null takes the task's own length")
    phases: list[Phase] = Field(["training"], min_length=1, description="a forward pass, a training step, or each")
    resolution: float = Field(
        0.05, gt=0, lt=1, description="search until a size fits and one larger by this fraction, or by 1, does not"
    )
    max_seconds: float = Field(60, gt=0, description="longest time of one attempt, beyond which the search ends")
    max_attempts: int = Field(20, ge=1, description="sizes to try for one row")


def measure_capacity(options: CapacityOptions, subject: Subject) -> Sequence[Measurement]:
    """Return `largest_batch` (sequences or pairs) at each length, and `largest_length` (tokens) of one sequence.

    `detail` names the budget and the two sizes between which the limit lies; `samples` are the sizes tried. A search
    that an attempt ended by taking too long has no value and the status timeout, its detail what did fit.
    """
    rows: list[Measurement] = []
    for phase in dict.fromkeys(options.phases):
        blank = Measurement("", phase, None, "", higher_is_better=True)
        if "batch" in options.what:
            for length in options.lengths or [subject.length]:
                row = blank._replace(measure="largest_batch", unit="sequences", length=length)
                rows.append(_search(options, subject, row, 1, lambda size, n=length: (size, n)))  # type: ignore[misc]
        if "length" in options.what:
            row = blank._replace(measure="largest_length", unit="tokens", batch_size=1)
            rows.append(_search(options, subject, row, subject.length, lambda size: (1, size)))
    return rows


def _search(
    options: CapacityOptions,
    subject: Subject,
    row: Measurement,
    start: int,
    shape: Callable[[int], tuple[int, int]],
) -> Measurement:
    """Fill a row; `shape(size)` is the batch size and the length of an attempt."""
    budget = int(options.budget_gib * GIB)

    def attempt(size: int) -> Answer:
        batch_size, length = shape(size)
        arguments = {"phase": row.phase, "batch_size": batch_size, "length": length, "budget": budget}
        return run_apart(subject, bytes_of_pass, arguments, options.max_seconds)

    found = Search(attempt, budget, options.resolution, options.max_attempts).run(start)
    detail = f"{options.budget_gib:g} GiB: {found.detail}"
    if found.size is None:
        return row.without(found.status, f"{detail} ({found.n_attempts} attempts)")
    return row._replace(value=found.size, samples=found.n_attempts, detail=detail)


def bytes_of_pass(subject: Subject, phase: Phase, batch_size: int, length: int, budget: int) -> int:
    """Return the bytes that a pass on a batch takes, as this module counts them.

    Raises ValueError where this process may not take as much as `budget` at all, for a failure would say nothing then.
    """
    return_what_is_freed()
    on_gpu = subject.device.type == "cuda"
    if on_gpu:
        _limit_reserved(budget, subject.device)
    else:
        _require_room(budget)
    passes = Passes(subject, 1, length)
    once = passes.inference if phase == "inference" else passes.step
    once()  # On one sequence: loads code, and gives AdamW its state.
    passes.model.zero_grad(set_to_none=True)

    def enlarge_and_pass() -> None:
        passes.batch = subject.synthetic_batch(batch_size, length)
        once()

    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(subject.device)
        enlarge_and_pass()
        torch.cuda.synchronize(subject.device)
        return torch.cuda.max_memory_reserved(subject.device)
    state = passes.optimizer.state.values() if passes.optimizer else []
    held = storage_bytes(
        itertools.chain(passes.model.parameters(), passes.model.buffers(), *(tensors_in(entry) for entry in state))
    )
    return held + resident_growth(enlarge_and_pass)


def _limit_reserved(budget: int, device: torch.device) -> None:
    """Let PyTorch reserve no more than the budget on a GPU; ValueError where others leave less than that."""
    # The limit must name a device by its number, and `cuda` has none.
    index = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(index)
    room = free + torch.cuda.memory_reserved(index)
    if room < budget:
        raise ValueError(
            f"budget_gib ({budget / GIB:g}) must not exceed what the GPU has free ({room / GIB:.2f} GiB); lower it"
        )
    torch.cuda.set_per_process_memory_fraction(budget / total, index)


def _require_room(budget: int) -> None:
    room = room_for_data()
    if room is not None and room < budget:
        raise ValueError(
            f"budget_gib ({budget / GIB:g}) must not exceed what a run may hold beside itself ({room / GIB:.2f} GiB);"
            " lower it, or raise limits.memory_gib"
        )


CAPACITY = Measure(
    name="capacity",
    summary="the largest batch and the largest length whose training step (or inference) fits a budget of memory",
    options=CapacityOptions,
    run=measure_capacity,
)
