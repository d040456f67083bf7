"""What blocked forms share: memory that is used again, scores that hide, and work that leaves no trace."""

from __future__ import annotations

import pytest
import torch

from attention_arena.layers import Scratch, add_where, hidden_score, processor_of, untracked


def test_one_name_is_one_memory() -> None:
    scratch = Scratch(torch.float32, torch.device("cpu"))
    first = scratch("scores", 4, 3)
    assert scratch("scores", 2, 5).data_ptr() == first.data_ptr()
    assert scratch("others", 2, 5).data_ptr() != first.data_ptr()


def test_memory_is_taken_for_as_many_numbers_as_later_calls_need() -> None:
    scratch = Scratch(torch.float32, torch.device("cpu"))
    first = scratch("scores", 4, at_least=100)
    assert scratch("scores", 10, 10).data_ptr() == first.data_ptr()
    assert scratch("scores", 101).shape == (101,)


def test_memory_has_the_type_that_is_asked_for() -> None:
    scratch = Scratch(torch.float64, torch.device("cpu"))
    assert scratch("scores", 2).dtype == torch.float64
    assert scratch("places", 2, dtype=torch.int16).dtype == torch.int16


def test_what_has_shapes_alone_is_laid_out_for_a_cpu() -> None:
    assert processor_of(torch.empty(2, device="meta")) == "cpu"
    assert processor_of(torch.device("meta")) == "cpu"
    assert processor_of(torch.device("cuda")) == "cuda"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_hidden_score_leaves_no_weight_and_no_nan(dtype: torch.dtype) -> None:
    hidden = torch.tensor([[False, True, False], [True, True, True]])
    added = add_where(hidden, dtype)
    assert added.dtype == dtype
    weights = added.softmax(-1)
    assert weights[0, 1] == 0
    assert weights[1].isfinite().all()
    assert torch.isfinite(added - hidden_score(dtype)).all()


def test_what_is_written_untracked_can_be_kept() -> None:
    kept = torch.zeros(2)
    with untracked():
        made = torch.ones(2)
        kept.add_(made)
    assert not kept.is_inference()
    assert made.is_inference()
    assert kept.tolist() == [1, 1]
