from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.pairs import PairSplit
from attention_arena.splits import ExampleSplit

LENGTHS = [2, 3, 1, 4]
PAIRS = [[0, 1], [2, 0], [3, 3], [1, 2], [0, 3]]


def make_pairs(**settings: Any) -> PairSplit:
    """Return a split whose document d has tokens from 10 * d + 1 on; pair i has class i % 2."""
    tokens = np.concatenate([np.arange(10 * d + 1, 10 * d + 1 + n) for d, n in enumerate(LENGTHS)]).astype(np.uint16)
    pairs = np.array(PAIRS, dtype=np.int32)
    return PairSplit(tokens, np.cumsum([0, *LENGTHS]), pairs, np.arange(len(pairs), dtype=np.uint8) % 2, **settings)


class TestPairs:
    def test_a_batch_is_padded_to_its_longest_document(self) -> None:
        batch = next(make_pairs().batches(2))
        assert batch.tokens.tolist() == [[[1, 2, 0], [11, 12, 13]], [[21, 0, 0], [1, 2, 0]]]
        assert batch.valid is not None
        assert torch.equal(batch.valid, batch.tokens > 0)
        assert batch.targets.tolist() == [0, 1]
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64

    def test_a_batch_without_padding_has_no_mask(self) -> None:
        assert [batch.valid is None for batch in make_pairs().batches(1)] == [False, False, True, False, False]

    def test_pad_to_gives_every_batch_one_length(self) -> None:
        assert {tuple(batch.tokens.shape) for batch in make_pairs(pad_to=6).batches(5)} == {(5, 2, 6)}

    @pytest.mark.parametrize("order_seed", [None, 0, 7])
    def test_pairs_are_read_as_two_splits_of_examples_would_be(self, order_seed: int | None) -> None:
        split = make_pairs(pad_to=4)
        sides = []
        for side in range(2):
            documents = [split.tokens[split.offsets[d] : split.offsets[d + 1]] for d in split.pairs[:, side]]
            offsets = np.cumsum([0, *map(len, documents)])
            sides.append(
                list(ExampleSplit(np.concatenate(documents), offsets, split.targets, 4).batches(2, order_seed))
            )
        batches = list(split.batches(2, order_seed))
        assert len(batches) == len(sides[0])
        for batch, first, second in zip(batches, *sides, strict=True):
            assert torch.equal(batch.tokens, torch.stack([first.tokens, second.tokens], dim=1))
            assert torch.equal(batch.targets, first.targets)

    def test_an_empty_document_is_all_padding(self) -> None:
        split = PairSplit(np.array([5], dtype=np.uint8), np.array([0, 1, 1]), np.array([[0, 1], [1, 1]]), np.zeros(2))
        first, second = split.batches(1)
        assert first.valid is not None
        assert first.valid.tolist() == [[[True], [False]]]
        assert second.tokens.shape == (1, 2, 1), "a sequence has at least one position"

    def test_what_is_saved_opens_alike(self, tmp_path: Path) -> None:
        split = make_pairs()
        split.save(tmp_path, "train")
        opened = PairSplit.open(tmp_path, "train")
        assert isinstance(opened.tokens, np.memmap)
        assert (opened.content_hash, opened.n_examples, opened.longest) == (split.content_hash, 5, 4)
        for one, other in zip(opened.batches(2, 1), split.batches(2, 1), strict=True):
            assert torch.equal(one.tokens, other.tokens)

    @pytest.mark.parametrize("part", ["tokens", "pairs", "targets"])
    def test_the_hash_covers_every_part(self, part: str) -> None:
        split = make_pairs()
        parts = {name: getattr(split, name) for name in ("tokens", "offsets", "pairs", "targets")}
        changed = parts[part].copy()
        changed.flat[0] = 1 - changed.flat[0] if part != "tokens" else 9
        assert PairSplit(**{**parts, part: changed}).content_hash != split.content_hash

    def test_the_hash_covers_where_documents_begin(self) -> None:
        split = make_pairs()
        moved = np.array([0, 1, 5, 6, 10])
        assert PairSplit(split.tokens, moved, split.pairs, split.targets).content_hash != split.content_hash

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"offsets": np.array([0, 2, 1, 6, 10])}, "must rise"),
            ({"offsets": np.array([0, 2, 5, 6, 9])}, "must rise from 0 to 10"),
            ({"offsets": np.array([])}, "must rise"),
            ({"pairs": np.zeros((4, 2), dtype=int)}, r"\(5, 2\), one for each target, got \(4, 2\)"),
            ({"pairs": np.full((5, 2), 4)}, "documents 0 to 3, got 4 to 4"),
            ({"pairs": np.full((5, 2), -1)}, "documents 0 to 3, got -1 to -1"),
            ({"pad_to": 3}, r"longest document \(4\), got 3"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, change: dict[str, Any], complaint: str) -> None:
        split = make_pairs()
        parts = {name: getattr(split, name) for name in ("tokens", "offsets", "pairs", "targets")}
        with pytest.raises(ValueError, match=complaint):
            PairSplit(**{**parts, **change})
