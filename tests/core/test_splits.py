from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.splits import ExampleSplit, StreamSplit, content_hash
from attention_arena.task import Batch


def make_examples(lengths: list[int], **settings: Any) -> ExampleSplit:
    """Return a split whose example i has class i % 7 and tokens that start at 10 * i + 1."""
    tokens = np.concatenate([np.arange(10 * i + 1, 10 * i + 1 + n) for i, n in enumerate(lengths)]).astype(np.uint16)
    return ExampleSplit(tokens, np.cumsum([0, *lengths]), np.arange(len(lengths), dtype=np.uint8) % 7, **settings)


def first_tokens(batches: list[Batch]) -> list[int]:
    return [int(row[0]) for batch in batches for row in batch.tokens]


def same(left: list[Batch], right: list[Batch]) -> bool:
    parts = [(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)]
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in parts)


class TestExamples:
    def test_a_batch_is_padded_to_its_longest(self) -> None:
        batch = next(make_examples([2, 3]).batches(2))
        assert batch.tokens.tolist() == [[1, 2, 0], [11, 12, 13]]
        assert batch.valid is not None
        assert batch.valid.tolist() == [[True, True, False], [True, True, True]]
        assert batch.targets.tolist() == [0, 1]
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64

    def test_a_batch_without_padding_has_no_mask(self) -> None:
        batches = list(make_examples([3, 3, 2, 3]).batches(2))
        assert batches[0].valid is None
        assert batches[1].valid is not None

    def test_pad_to_gives_every_batch_one_length(self) -> None:
        batches = list(make_examples([3, 3, 2, 5], pad_to=6).batches(2))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(2, 6), (2, 6)]
        assert all(batch.valid is not None for batch in batches)

    def test_in_order_every_example_appears_once(self) -> None:
        assert first_tokens(list(make_examples([2] * 7).batches(3))) == [1, 11, 21, 31, 41, 51, 61]

    def test_shuffled_batches_are_full_and_without_repetition(self) -> None:
        batches = list(make_examples([2] * 10).batches(4, order_seed=3))
        seen = first_tokens(batches)
        assert [len(batch.tokens) for batch in batches] == [4, 4]
        assert len(set(seen)) == 8
        assert seen != sorted(seen)

    def test_a_split_smaller_than_a_batch_is_one_batch(self) -> None:
        batches = list(make_examples([2] * 3).batches(8, order_seed=0))
        assert len(batches) == 1
        assert sorted(first_tokens(batches)) == [1, 11, 21]

    def test_targets_follow_their_example_when_shuffled(self) -> None:
        for batch in make_examples([1] * 20).batches(5, order_seed=1):
            assert (batch.targets == (batch.tokens[:, 0] // 10) % 7).all()

    def test_order_depends_on_the_seed_alone(self) -> None:
        split = make_examples([2, 3, 4] * 10)
        assert same(list(split.batches(4, 5)), list(split.batches(4, 5)))
        assert not same(list(split.batches(4, 5)), list(split.batches(4, 6)))

    def test_a_shuffle_is_the_same_everywhere(self) -> None:
        order = [token // 10 for token in first_tokens(list(make_examples([1] * 8).batches(8, order_seed=0)))]
        assert order == [3, 2, 1, 6, 0, 7, 4, 5]

    def test_what_is_saved_opens_alike(self, tmp_path: Path) -> None:
        split = make_examples([2, 3, 4])
        split.save(tmp_path, "train")
        opened = ExampleSplit.open(tmp_path, "train")
        assert isinstance(opened.tokens, np.memmap)
        assert opened.content_hash == split.content_hash
        assert same(list(opened.batches(2)), list(split.batches(2)))

    def test_the_hash_covers_tokens_bounds_and_targets(self) -> None:
        tokens, offsets, targets = np.arange(5, dtype=np.uint8), np.array([0, 2, 5]), np.array([0, 1])
        base = ExampleSplit(tokens, offsets, targets).content_hash
        assert ExampleSplit(tokens + 1, offsets, targets).content_hash != base
        assert ExampleSplit(tokens, np.array([0, 3, 5]), targets).content_hash != base
        assert ExampleSplit(tokens, offsets, np.array([1, 1])).content_hash != base

    def test_the_hash_is_of_values_not_of_byte_order(self) -> None:
        assert content_hash(np.array([1, 2], dtype=">u2")) == content_hash(np.array([1, 2], dtype="<u2"))

    @pytest.mark.parametrize("offsets", [[0, 2], [0, 2, 4], [1, 2, 5], [0, 5, 5]])
    def test_bounds_that_do_not_fit_are_refused(self, offsets: list[int]) -> None:
        with pytest.raises(ValueError, match=r"offsets|needs a token"):
            ExampleSplit(np.arange(5), np.array(offsets), np.array([0, 1]))

    def test_a_pad_to_that_cuts_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least the longest"):
            make_examples([2, 5], pad_to=4)


def predictions(batches: list[Batch]) -> list[tuple[int, int]]:
    """Return the (token, target) pairs that are scored."""
    pairs = []
    for batch in batches:
        scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
        pairs += list(zip(batch.tokens[scored].tolist(), batch.targets[scored].tolist(), strict=True))
    return pairs


class TestStream:
    @pytest.mark.parametrize("n", [2, 3, 7, 12, 13, 24, 25, 26, 100])
    @pytest.mark.parametrize("batch_size", [1, 3, 4])
    def test_in_order_every_token_is_predicted_once(self, n: int, batch_size: int) -> None:
        split = StreamSplit(np.arange(n, dtype=np.uint8), length=4)
        pairs = sorted(predictions(list(split.batches(batch_size))))
        assert pairs == [(i, i + 1) for i in range(n - 1)]
        assert split.n_examples == n - 1

    def test_a_row_continues_the_row_of_the_batch_before(self) -> None:
        batches = list(StreamSplit(np.arange(101, dtype=np.uint8), length=10).batches(4))
        whole = torch.cat([batch.tokens for batch in batches], dim=1)
        assert (whole.diff(dim=1) == 1).all()
        assert [batch.resumes.tolist() for batch in batches if batch.resumes is not None] == [
            [False] * 4, [True] * 4, [True] * 4,
        ]  # fmt: skip

    def test_rows_that_end_together_need_no_mask(self) -> None:
        batches = list(StreamSplit(np.arange(41, dtype=np.uint8), length=5).batches(4))
        assert all(batch.scored is None and batch.valid is None for batch in batches)

    def test_few_tokens_are_read_in_few_rows(self) -> None:
        batches = list(StreamSplit(np.arange(12, dtype=np.uint8), length=8).batches(32))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(2, 6)]

    @pytest.mark.parametrize("seed", range(5))
    def test_shuffled_batches_are_full(self, seed: int) -> None:
        batches = list(StreamSplit(np.arange(103, dtype=np.uint8), length=5).batches(4, order_seed=seed))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(4, 5)] * 5

    @pytest.mark.parametrize(("n", "batch_size"), [(103, 4), (80, 4), (9, 4), (2, 3)])
    def test_no_seed_scores_a_false_step_or_one_twice(self, n: int, batch_size: int) -> None:
        split = StreamSplit(np.arange(n, dtype=np.uint8), length=5)
        for seed in range(30):
            pairs = predictions(list(split.batches(batch_size, order_seed=seed)))
            assert all(target == token + 1 for token, target in pairs)
            assert len(set(pairs)) == len(pairs)

    def test_epochs_differ_and_a_seed_repeats_itself(self) -> None:
        split = StreamSplit(np.arange(200, dtype=np.uint8), length=5)
        assert same(list(split.batches(4, 1)), list(split.batches(4, 1)))
        starts = {int(next(split.batches(4, seed)).tokens[0, 0]) for seed in range(20)}
        assert len(starts) > 10

    def test_a_pass_resumes_nothing_from_the_pass_before(self) -> None:
        first = next(StreamSplit(np.arange(200, dtype=np.uint8), length=5).batches(4, 1))
        assert first.resumes is not None
        assert not first.resumes.any()

    def test_what_is_saved_opens_alike(self, tmp_path: Path) -> None:
        split = StreamSplit(np.arange(50, dtype=np.uint8), length=5)
        split.save(tmp_path, "test")
        opened = StreamSplit.open(tmp_path, "test", length=5)
        assert opened.content_hash == split.content_hash
        assert same(list(opened.batches(4, 3)), list(split.batches(4, 3)))

    def test_a_stream_of_one_token_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2 tokens"):
            StreamSplit(np.zeros(1, dtype=np.uint8), length=4)
