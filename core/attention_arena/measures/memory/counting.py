"""Bytes: what autograd keeps for backward, what tensors hold, and the peak of this process.

What is kept for backward and what tensors hold is counted exactly and is the same on every machine.
"""

from __future__ import annotations

import resource
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


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


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes that some tensors hold; each storage counts once and whole, however many views of it there are.

    A small view so keeps all of the memory that it is a view of, as it does in the process.
    """
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors inside tuples, lists, dicts and dataclasses, however deep; what else there is holds none."""
    if isinstance(value, Tensor):
        yield value
        return
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value) and not isinstance(value, type):
        inner = vars(value).values()
    for part in inner:
        yield from tensors_in(part)
