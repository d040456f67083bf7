"""Synthetic batches have the form of the task's own, and its share of positions that count."""

from collections.abc import Iterator

import pytest
import torch

from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.runs.synthetic import synthetic_batch
from attention_arena.task import Batch, Objective, Source, Split, TaskData

CPU = torch.device("cpu")
VOCABULARY = 11


class One(Split):
    """A split of one batch."""

    n_examples = 1
    content_hash = "00"

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        yield self.batch


def data_like(batch: Batch, objective: Objective | None = None) -> TaskData:
    split = One(batch)
    source = Source("generated", "none")
    return TaskData(VOCABULARY, 20, objective or LanguageModeling(VOCABULARY), split, split, split, source)


def tokens(*size: int) -> torch.Tensor:
    return torch.arange(int(torch.tensor(size).prod())).view(size) % VOCABULARY


def masked(n_scored: int, valid: torch.Tensor | None = None) -> Batch:
    scored = torch.zeros(4, 20, dtype=torch.bool)
    scored[:, :n_scored] = True
    return Batch(tokens(4, 20), tokens(4, 20), valid=valid, scored=scored)


class TestScored:
    @pytest.mark.parametrize(("n_scored", "length", "expected"), [(3, 20, 3), (3, 100, 15), (1, 4, 1), (10, 7, 4)])
    def test_as_large_a_share_counts_as_in_the_task(self, n_scored: int, length: int, expected: int) -> None:
        batch = synthetic_batch(data_like(masked(n_scored)), 5, length, seed=0, device=CPU)
        assert batch.scored is not None
        assert batch.scored.sum(dim=1).tolist() == [expected] * 5
        assert batch.valid is None

    def test_the_share_is_of_real_positions(self) -> None:
        valid = torch.zeros(4, 20, dtype=torch.bool)
        valid[:, :10] = True
        batch = synthetic_batch(data_like(masked(5, valid)), 2, 20, seed=0, device=CPU)
        assert batch.scored is not None
        assert batch.scored.sum(dim=1).tolist() == [10, 10]

    def test_the_places_depend_on_the_seed_alone(self) -> None:
        data = data_like(masked(5))
        first, again, other = (synthetic_batch(data, 3, 20, seed, CPU).scored for seed in (0, 0, 1))
        assert first is not None
        assert again is not None
        assert other is not None
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("batch", [Batch(tokens(4, 20), tokens(4, 20)), masked(20)], ids=["no mask", "all true"])
    def test_where_all_positions_count_there_is_no_mask(self, batch: Batch) -> None:
        assert synthetic_batch(data_like(batch), 2, 12, seed=0, device=CPU).scored is None


class TestForm:
    def test_classes_are_those_of_the_task(self) -> None:
        data = data_like(Batch(tokens(4, 20), torch.tensor([0, 2, 1, 2])), Classification(3))
        batch = synthetic_batch(data, 50, 7, seed=0, device=CPU)
        assert batch.tokens.shape == (50, 7)
        assert set(batch.targets.tolist()) == {0, 1, 2}
        assert batch.scored is None

    def test_pairs_stay_pairs(self) -> None:
        data = data_like(Batch(tokens(4, 2, 20), torch.tensor([0, 1, 1, 0])), Classification(2))
        assert synthetic_batch(data, 3, 7, seed=0, device=CPU).tokens.shape == (3, 2, 7)
