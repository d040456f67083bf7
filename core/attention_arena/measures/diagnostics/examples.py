"""The sequences of the test split that diagnostics look at."""

from __future__ import annotations

from collections.abc import Iterator

from attention_arena.measure import Subject
from attention_arena.task import Batch


def first_examples(subject: Subject, examples: int) -> Iterator[Batch]:
    """Yield the first `examples` sequences (or pairs) of the test split, in its order, on the run's device.

    Batches have the run's size at most. Rows of a stream continue those of the batch before (`Batch.resumes`).
    """
    left = examples
    # Not the run's own size where less is wanted: a stream's rows lie far apart, and few are to be all of them.
    for batch in subject.data.test.batches(min(subject.batch_size, examples)):
        yield batch.rows(0, left).to(subject.device)
        left -= len(batch.tokens)
        if left <= 0:
            return
