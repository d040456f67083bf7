"""Memory of a training step: what autograd keeps for backward, and the peak.

What is kept for backward is counted exactly and is the same on every machine. The peak belongs to the machine: on a GPU
it is PyTorch's own account of allocated memory; on a CPU it is how far the process's resident set rose above its level
before the step, which misses what the allocator had kept free from before.
"""

from __future__ import annotations

import resource
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import Lengths, Passes, batch_size_for, rows_or_reason
from attention_arena.variant import Options

SAMPLE_SECONDS = 0.001
"""Pause between two readings of the resident set."""


class _Kept:
    """A tensor that the graph keeps; it lives as long as the graph does."""

    def __init__(self, tensor: Tensor) -> None:
        # Detached, because a saved output would otherwise hold the node that holds it.
        self.tensor = tensor.detach()


def saved_for_backward(function: Callable[[], Any], apart: Iterable[Tensor] = ()) -> int:
    """Return the bytes that autograd keeps for the backward of what `function` returns.

    `function` runs forward and returns the loss, or whatever else holds the graph. Each storage counts once and whole,
    however many views of it are kept; storages of the tensors in `apart` (parameters, the input batch) do not count.
    A custom autograd function is seen only as far as it uses `save_for_backward`.
    """
    kept: weakref.WeakSet[_Kept] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Kept:
        holder = _Kept(tensor)
        kept.add(holder)
        return holder

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
        graph = function()
    left_out = {tensor.untyped_storage().data_ptr() for tensor in apart}
    storages = [holder.tensor.untyped_storage() for holder in kept]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    del graph  # Held until here: what has no holder by now is not kept.
    return sum(size for pointer, size in sizes.items() if pointer not in left_out)


def peak_memory(device: torch.device) -> int:
    """Return this process's peak so far, in bytes: allocated memory on a GPU, the resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # Not ru_maxrss, which on Linux starts at what the parent process held when it forked.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def resident_growth(function: Callable[[], object]) -> int:
    """Return how far the resident set rises above its present level while `function` runs, in bytes.

    Read every millisecond or so from another thread, so a shorter peak can be missed.
    """
    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLE_SECONDS):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(highest, process.memory_info().rss) - before


class MemoryOptions(Options):
    """Options of the memory measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")
    tokens_per_step: int | None = Field(
        None, ge=1, description="tokens in a batch, the same at every length; null takes the run's batch size"
    )


def measure_memory(options: MemoryOptions, subject: Subject) -> Sequence[Measurement]:
    """Return, at each length, bytes kept for backward and the peak of a training step.

    The peak is called `peak_memory` on a GPU, parameters and optimiser included, and `peak_resident_growth` on a CPU,
    where it counts from the level before the step. It is taken at the second step, when AdamW has its state.
    """
    peak = "peak_memory" if subject.device.type == "cuda" else "peak_resident_growth"
    rows: list[Measurement] = []
    for length in options.lengths or [subject.length]:
        size = subject.batch_size
        if options.tokens_per_step is not None:
            size = batch_size_for(subject, options.tokens_per_step, length)
        blank = [
            Measurement(name, "training", None, "bytes", length, size, higher_is_better=False)
            for name in ("saved_for_backward", peak)
        ]
        rows += rows_or_reason(blank, partial(_measure_cell, subject, blank))
    return rows


def _measure_cell(subject: Subject, blank: Sequence[Measurement]) -> Sequence[Measurement]:
    kept, peak = blank
    passes = Passes.of(subject, kept)
    apart = [*passes.model.parameters(), *passes.model.buffers(), *(part for part in passes.batch if part is not None)]
    saved = saved_for_backward(passes.loss, apart)
    passes.step()
    if subject.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(subject.device)
        passes.step()
        torch.cuda.synchronize(subject.device)
        highest = torch.cuda.max_memory_allocated(subject.device)
    else:
        passes.model.zero_grad(set_to_none=True)
        highest = resident_growth(passes.step)
    return [kept._replace(value=saved), peak._replace(value=highest)]


MEMORY = Measure(
    name="memory",
    summary="bytes of a training step: kept for backward (counted), and the peak (measured)",
    options=MemoryOptions,
    run=measure_memory,
)
