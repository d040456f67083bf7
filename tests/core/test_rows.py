from pathlib import Path

import numpy as np
import pytest
import torch

from attention_arena.rows import Rows, RowSplit, draw_distinct
from attention_arena.task import TaskError

N, T, P = 7, 5, 2


def make(shared: bool = False) -> RowSplit:
    tokens = np.arange(N * T, dtype=np.uint8).reshape(N, T)
    places = np.array([4, 1]) if shared else np.array([[i % 3, 3 + i % 2] for i in range(N)])
    return RowSplit(tokens, places, 100 + np.arange(N * P, dtype=np.uint8).reshape(N, P))


@pytest.mark.parametrize("shared", [False, True])
def test_each_answer_stands_at_its_place_and_nothing_else_counts(shared: bool) -> None:
    split = make(shared)
    row = 0
    for batch in split.batches(3):
        assert batch.scored is not None
        for tokens, targets, scored in zip(batch.tokens, batch.targets, batch.scored, strict=True):
            places = split.places if shared else split.places[row]
            assert tokens.tolist() == split.tokens[row].tolist()
            assert [int(targets[place]) for place in places] == split.answers[row].tolist()
            assert sorted(places) == torch.nonzero(scored).flatten().tolist()
            row += 1
    assert row == N
    assert split.n_examples == N * P


def test_a_shuffled_pass_has_full_batches_of_distinct_rows_and_depends_on_its_seed() -> None:
    passes = [[batch.tokens[:, 0].tolist() for batch in make().batches(3, order_seed=seed)] for seed in (0, 0, 1)]
    assert passes[0] == passes[1] != passes[2]
    assert [len(batch) for batch in passes[0]] == [3, 3]
    assert len({first for batch in passes[0] for first in batch}) == 6


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    (batch,) = make().batches(20, order_seed=0)
    assert sorted(batch.tokens[:, 0].tolist()) == [0, 5, 10, 15, 20, 25, 30]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    split = make()
    split.save(tmp_path, "test")
    again = RowSplit.open(tmp_path, "test")
    assert again.content_hash == split.content_hash
    for one, other in zip(again.batches(3), split.batches(3), strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.targets, other.targets)


def test_the_hash_covers_tokens_places_and_answers() -> None:
    split = make()
    hashes = {split.content_hash}
    for part in ("tokens", "places", "answers"):
        arrays = {name: getattr(split, name).copy() for name in ("tokens", "places", "answers")}
        arrays[part][0, 0] += 1
        hashes.add(RowSplit(**arrays).content_hash)
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("places", "answers", "complaint"),
    [
        ([[0, 5]], [[1, 1]], "must lie in 0 to 4"),
        ([[0, -1]], [[1, 1]], "must lie in 0 to 4"),
        ([[2, 2]], [[1, 1]], "a place twice"),
        ([[1, 2, 3]], [[1, 1]], "expected answers"),
        ([[1, 2]], [[1, 1], [1, 1]], "expected answers"),
        ([[]], [[]], "expected answers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(places: list[list[int]], answers: list[list[int]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RowSplit(np.zeros((1, T), np.uint8), np.array(places, np.int64), np.array(answers, np.int64))


class TestDrawDistinct:
    def draw(self, n_values: int, shared: bool) -> Rows:
        bits = self.bits.random_raw(4)
        tokens = np.repeat((bits % np.uint64(n_values)).astype(np.uint8)[:, None], T, axis=1)
        places = np.array([3]) if shared else np.arange(4)[:, None]
        return Rows(tokens, places, tokens[:, :1])

    @pytest.fixture(autouse=True)
    def _seed(self) -> None:
        self.bits = np.random.PCG64(0)

    @pytest.mark.parametrize("shared", [False, True])
    def test_no_sequence_occurs_twice_and_answers_stay_with_theirs(self, shared: bool) -> None:
        splits = draw_distinct(lambda: self.draw(40, shared), {"test": 5, "train": 20})
        assert [len(split.tokens) for split in splits.values()] == [5, 20]
        firsts = [first for split in splits.values() for first in split.tokens[:, 0].tolist()]
        assert len(set(firsts)) == 25
        assert firsts == [answer for split in splits.values() for answer in split.answers[:, 0].tolist()]

    def test_too_few_sequences_are_an_error_with_a_way_out(self) -> None:
        with pytest.raises(TaskError, match="only 3 distinct sequences were found, but 6 are asked for: make them"):
            draw_distinct(lambda: self.draw(3, True), {"test": 3, "train": 3})
