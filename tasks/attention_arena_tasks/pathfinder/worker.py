"""One of the processes that `drawing.draw_into` starts: draws the chunks that come on its standard input."""

from __future__ import annotations

import sys

from attention_arena_tasks.pathfinder.drawing import work

if __name__ == "__main__":
    for done in work(sys.argv[1], sys.stdin):
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
