"""Draws a split's images into a file, in several processes if there are many; who draws an image does not change it.

The processes are plain Python interpreters that run `worker`, and not forks or copies of the caller's program: that
may have threads, or no guard against being imported again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from attention_arena.task import TaskError
from attention_arena_tasks.pathfinder.draw import render
from attention_arena_tasks.pathfinder.generate import Range, grow_images
from attention_arena_tasks.pathfinder.recipe import recipe_of
from attention_arena_tasks.pathfinder.stamps import Bytes

CHUNK = 256
"""Images that a process draws at once: some seconds' work at most."""
DONE = "done"
WORKER = "attention_arena_tasks.pathfinder.worker"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
WORTH_A_PROCESS = 8
"""Chunks for each process, at least; with fewer, starting it may take longer than drawing."""


def draw(images: Range, size: int, difficulty: str) -> Bytes:
    """Return the images (n, size, size)."""
    recipe = recipe_of(size, difficulty)
    return render(recipe, grow_images(recipe, images))


def draw_into(
    file: Path,
    images: Range,
    size: int,
    difficulty: str,
    advance: Callable[[int], object],
    n_processes: int | None = None,
) -> None:
    """Fill the .npy file of pixels (n, size, size), and call `advance` with how many more images are there.

    As many processes as there are processors, if `n_processes` is None and the work is worth it.
    """
    chunks = list(_chunks(images, CHUNK))
    if n_processes is None:
        n_processes = min(_n_processors(), len(chunks) // WORTH_A_PROCESS)
    if n_processes < 2:
        pixels = np.lib.format.open_memmap(file, mode="r+")
        for chunk in chunks:
            pixels[_rows(chunk, images.start)] = draw(chunk, size, difficulty)
            advance(chunk.n)
        return
    waiting: SimpleQueue[Range] = SimpleQueue()
    for chunk in chunks:
        waiting.put(chunk)
    order = json.dumps([str(file), images.start, size, difficulty])
    with ThreadPoolExecutor(n_processes) as threads:
        running = [threads.submit(_supervise, order, waiting, advance) for _ in range(n_processes)]
        try:
            for each in running:
                each.result()
        finally:
            _drain(waiting)  # where one failed, or we are interrupted, the others need not go on


def _n_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(images: Range, size: int) -> Iterator[Range]:
    for start in range(0, images.n, size):
        yield images._replace(start=images.start + start, n=min(size, images.n - start))


def _rows(chunk: Range, start: int) -> slice:
    return slice(chunk.start - start, chunk.start - start + chunk.n)


def _supervise(order: str, waiting: SimpleQueue[Range], advance: Callable[[int], object]) -> None:
    """Have one process draw chunks as long as any wait; it ends when its input does, even if we are killed."""
    command = [sys.executable, "-m", WORKER, order]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        while not waiting.empty():
            try:
                chunk = waiting.get_nowait()
            except Empty:
                return
            with suppress(BrokenPipeError):  # it is gone; what it said is raised below
                process.stdin.write(f"{json.dumps(chunk)}\n")
                process.stdin.flush()
            if process.stdout.readline().strip() != DONE:
                detail = process.stderr.read().strip().rpartition("\n")[2]
                raise TaskError(f"a process that drew Pathfinder images ended early: {detail or 'it was killed'}")
            advance(chunk.n)


def _drain(waiting: SimpleQueue[Range]) -> None:
    with suppress(Empty):
        while True:
            waiting.get_nowait()


def work(order: str, chunks: Iterable[str]) -> Iterator[str]:
    """Draw the chunks that come, a line of text each, and yield DONE after each."""
    file, start, size, difficulty = json.loads(order)
    pixels = np.lib.format.open_memmap(file, mode="r+")
    for line in chunks:
        chunk = Range(*json.loads(line))
        pixels[_rows(chunk, start)] = draw(chunk, size, difficulty)
        yield DONE
