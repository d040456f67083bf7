"""What runs in the second process: `python -m attention_arena.report.page.second_drawer FD` draws what it is sent."""

from __future__ import annotations

import pickle
import sys
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

from attention_arena.report.page.drawing import draw
from attention_arena.report.page.second_process import Answer, Task
from attention_arena.report.reading.results import Results


def serve(channel: Connection) -> None:
    """Draw figure after figure; end where nobody is left to ask or to answer."""
    import matplotlib

    with suppress(EOFError, OSError):
        task: Task = channel.recv()
        matplotlib.rcParams.update(task.settings)
        while True:
            channel.send(answer(channel.recv_bytes(), task.results))


def answer(pickled: bytes, results: Results) -> Answer | None:
    """Return what a pickled figure came to; None where this process cannot have it, as it was defined in the other."""
    try:
        figure = pickle.loads(pickled)
    # This imports the figure's module, which is foreign code and can fail here in any way at all.
    except Exception:
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = draw(figure, results)
    return Answer(drawn, [(str(each.message), _known(each.category)) for each in caught])


def _known(category: type[Warning]) -> type[Warning]:
    """Return a warning's category, or its nearest ancestor that Python itself has: any process knows that one."""
    return next(each for each in category.__mro__ if issubclass(each, Warning) and each.__module__ == "builtins")


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
