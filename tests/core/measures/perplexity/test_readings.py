"""Each way to read a text predicts every token but the first once, from the context that it promises."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch

from attention_arena.measures.perplexity.readings import Reading, cached, chunks, own_windows, sliding
from attention_arena.splits import StreamSplit

SHAPES = [(1, 4, 2), (4, 4, 2), (5, 4, 4), (9, 4, 1), (37, 8, 3), (40, 8, 8), (41, 8, 2), (64, 16, 5)]


def counted(n: int) -> np.ndarray:
    """A text whose token t is t, so that a prediction at place p reads p and predicts p + 1."""
    return np.arange(n + 1)


def scored_places(readings: Iterable[Reading]) -> list[int]:
    found = []
    for batch, places in readings:
        found += (places if batch.scored is None else places[batch.scored]).flatten().tolist()
    return found


@pytest.mark.parametrize(("n", "length", "stride"), SHAPES)
def test_sliding_windows_score_every_prediction_once(n: int, length: int, stride: int) -> None:
    assert sorted(scored_places(sliding(counted(n), length, stride, batch_size=3))) == list(range(n))


@pytest.mark.parametrize(("n", "length", "stride"), SHAPES)
def test_chunks_and_cached_segments_score_every_prediction_once(n: int, length: int, stride: int) -> None:
    assert sorted(scored_places(chunks(counted(n), length, batch_size=3))) == list(range(n))
    assert sorted(scored_places(cached(counted(n), length, batch_size=3))) == list(range(n))


@pytest.mark.parametrize("read", ["chunks", "sliding", "cached"])
def test_a_place_is_where_its_target_stands(read: str) -> None:
    text = counted(75)
    readings = {
        "chunks": lambda: chunks(text, 8, 4),
        "sliding": lambda: sliding(text, 8, 3, 4),
        "cached": lambda: cached(text, 8, 4),
    }[read]()
    for batch, places in readings:
        scored = torch.ones_like(places, dtype=torch.bool) if batch.scored is None else batch.scored
        assert torch.equal(batch.tokens[scored], places[scored])
        assert torch.equal(batch.targets[scored], places[scored] + 1)


@pytest.mark.parametrize(("n", "length", "stride"), SHAPES)
def test_a_sliding_window_gives_its_predictions_the_context_it_promises(n: int, length: int, stride: int) -> None:
    for batch, places in sliding(counted(n), length, stride, batch_size=3):
        assert batch.scored is not None
        for row, scored in zip(places, batch.scored, strict=True):
            seen = (row - row[0] + 1)[scored]
            assert row[0] == 0 or int(seen.min()) >= length - stride + 1


def test_chunks_begin_side_by_side_and_see_nothing_of_each_other() -> None:
    starts = [int(row[0]) for batch, _ in chunks(counted(21), 8, batch_size=2) for row in batch.tokens]
    assert starts == [0, 8, 16]
    assert all(batch.resumes is None for batch, _ in chunks(counted(21), 8, batch_size=2))


def test_cached_segments_continue_those_before_them() -> None:
    readings = list(cached(counted(70), 8, batch_size=2))
    for before, after in pairwise(readings):
        assert after.batch.resumes is not None
        assert after.batch.resumes.all()
        assert torch.equal(after.places[:, 0], before.places[:, -1] + 1)


@pytest.mark.parametrize(("n", "n_rows"), [(31, 1), (64, 2), (95, 2), (96, 3), (1000, 4)])
def test_a_text_is_cut_into_no_rows_of_less_than_four_segments(n: int, n_rows: int) -> None:
    assert len(next(cached(counted(n), 8, batch_size=4)).places) == n_rows


@pytest.mark.parametrize(("max_tokens", "n_windows"), [(None, 5), (16, 2), (20, 2), (1, 1)])
def test_a_splits_own_windows_are_read_up_to_a_bound(max_tokens: int | None, n_windows: int) -> None:
    split = StreamSplit(np.arange(41), length=8)
    rows = [row for batch, _ in own_windows(split, 8, max_tokens, batch_size=1) for row in batch.tokens]
    assert len(rows) == n_windows
