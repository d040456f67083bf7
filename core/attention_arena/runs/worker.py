"""The child process of one run. Imports neither polars nor seaborn nor the command line."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path

import torch
from filelock import FileLock

from attention_arena.allocator import keep_what_is_freed
from attention_arena.measures.passes import is_out_of_memory
from attention_arena.runs.execution import Execution
from attention_arena.runs.files import write_whole
from attention_arena.runs.lifetime import end_with
from attention_arena.runs.outcome import OUTCOME_FILE, Outcome


def main() -> None:
    """Execute the run in the folder given on the command line."""
    parser = argparse.ArgumentParser(description="execute one run; called by `arena run`")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parent", type=int, help="end when this process does")
    arguments = parser.parse_args()
    if arguments.parent:
        end_with(arguments.parent)
    folder: Path = arguments.folder
    # A child of a runner that was killed may still be dying; it must be gone before its files are written anew.
    with FileLock(folder / "worker.lock"):
        outcome = execute(folder, torch.device(arguments.device), arguments.threads)
        write_whole(folder / OUTCOME_FILE, outcome.model_dump_json())


def execute(folder: Path, device: torch.device, threads: int) -> Outcome:
    """Execute a run and return its outcome; an exception becomes an outcome, its traceback goes to the log."""
    # A run forks before its first thread pool starts (see `runs.apart`), so it loads on one thread.
    torch.set_num_threads(1)
    try:
        execution = Execution(folder, device)
        # Not before: what loading the data took and freed is the system's again.
        keep_what_is_freed()
        return execution.execute(threads)
    # Whatever a plugin raises costs this run alone and is its verdict.
    except Exception as error:
        traceback.print_exc()
        status = "oom" if is_out_of_memory(error) else "failed"
        return Outcome(status=status, detail=f"{type(error).__name__}: {error}".strip()[:2000])


if __name__ == "__main__":
    main()
