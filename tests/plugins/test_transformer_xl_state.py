"""Memory between segments, padding, and steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attention_arena.variant import Context
from attention_arena_variants.transformer_xl.attention import Memory
from tests.plugins.transformer_xl_stacks import D_MODEL, EXACT, attention_of, backbone, difference, read, text

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def test_t9_memory_starts_empty_and_is_never_filled_with_zeros() -> None:
    stack = backbone(memory=6)
    x = text(2, 3)
    state = stack(x).state
    assert [memory.hidden.shape[1] for memory in state] == [3, 3]
    assert torch.equal(state[0].hidden, x)
    assert torch.equal(stack(x[:, :2], Context(state=state)).state[0].hidden, torch.cat([x, x[:, :2]], dim=1))
    zeros = [Memory(torch.zeros_like(text(2, 6)), None) for _ in range(2)]
    assert difference(stack(x, Context(state=zeros)).hidden, stack(x).hidden) > 1e-3


def test_t10_the_memory_of_one_row_is_not_seen_by_another() -> None:
    stack = backbone(memory=6)
    before, after = text(2, 4), text(2, 3, seed=2)
    changed = before.clone()
    changed[0] = text(1, 4, seed=3)[0]
    expected, found = (stack(after, Context(state=stack(x).state)).hidden for x in (before, changed))
    assert difference(found[1], expected[1]) < EXACT
    assert difference(found[0], expected[0]) > 1e-3


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
def test_padding_changes_nothing_in_any_segment(causal: bool, encoding: str) -> None:
    stack = backbone(causal, segment_length=4, memory=3, encoding=encoding)
    lengths = (10, 5, 1)
    x = text(3, 10)
    valid = torch.arange(10) < torch.tensor(lengths)[:, None]
    found = stack(torch.where(valid[..., None], x, 1e3), Context(valid)).hidden
    for row, length in enumerate(lengths):
        assert difference(found[row, :length], stack(x[row : row + 1, :length]).hidden[0]) < EXACT


def test_padded_tokens_stay_hidden_in_memory() -> None:
    stack = backbone(memory=6)
    x, after = text(2, 5), text(2, 3, seed=2)
    valid = torch.tensor([[False, False, True, True, True]] * 2)
    padded = stack(x, Context(valid)).state
    found = stack(after, Context(state=padded)).hidden
    assert difference(found, stack(after, Context(state=stack(x[:, 2:]).state)).hidden) < EXACT


def test_a_query_with_nothing_to_attend_to_gives_zeros_and_no_nan_gradient() -> None:
    for encoding in ("rel_xl", "abs"):
        attention = attention_of(backbone(causal=False, encoding=encoding))
        x = text(2, 4).requires_grad_()
        valid = torch.tensor([[True] * 4, [False] * 4])
        hidden = attention(x, Context(valid)).hidden
        assert torch.equal(hidden[1], torch.zeros_like(hidden[1]))
        assert (hidden[0] != 0).all()
        (gradient,) = torch.autograd.grad(hidden.square().sum(), [x])
        assert gradient.isfinite().all()
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


@pytest.mark.parametrize("n_resuming", [0, 1, 2])
def test_rows_that_do_not_resume_start_anew(n_resuming: int) -> None:
    stack = backbone(memory=6)
    state = stack(text(2, 4)).state
    segments = text(2, 3, seed=2), text(2, 2, seed=3)
    resumes = torch.arange(2) < n_resuming
    resumed = stack(segments[0], Context(state=state))
    fresh = stack(segments[0])
    mixed = stack(segments[0], Context(state=state, resumes=resumes))
    later = [stack(segments[1], Context(state=output.state)).hidden for output in (resumed, fresh, mixed)]
    for found, continued, begun in ((mixed.hidden, resumed.hidden, fresh.hidden), (later[2], later[0], later[1])):
        assert difference(found, torch.where(resumes[:, None, None], continued, begun)) < EXACT


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoding": "rel_shaw"},
        {"encoding": "abs", "segment_length": 4, "memory": 3},
        {"segment_length": 4, "memory": 3},
        {"segment_length": 3, "memory": 0},
        {"segment_length": 3, "memory": 1, "eval_memory": 5},
        {"same_length": True, "memory": 4},
        {"clamp_length": 3},
    ],
)
def test_steps_equal_one_causal_pass(options: Any) -> None:
    stack = backbone(**options)
    x = text(2, 11)
    steps, state = [], None
    for t in range(11):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
        steps.append(hidden)
    assert difference(torch.cat(steps, dim=1), stack(x).hidden) < EXACT


def test_steps_beyond_the_longest_input_keep_the_evaluation_memory_alone() -> None:
    stack = backbone(memory=2, eval_memory=3, shape={"max_length": 4})
    x = text(2, 10)
    steps, lengths, state = [], [], None
    for t in range(10):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
        assert state is not None
        steps.append(hidden)
        lengths.append(state[0].hidden.shape[1])
    assert lengths == [1, 2, 3, 3, 4, 5, 6, 3, 4, 5]
    assert difference(torch.cat(steps, dim=1), read(stack, x, 4, 4, 2)) < EXACT


def test_steps_continue_a_text_that_was_read_in_one_pass() -> None:
    stack = backbone(memory=9)
    x = text(2, 9)
    state = stack(x[:, :6]).state
    for t in range(6, 9):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
    assert difference(hidden, stack(x).hidden[:, -1:]) < EXACT


def test_post_norm_remembers_the_input_of_the_layer_as_it_is() -> None:
    stack = backbone(memory=9, shape={"norm": "post"})
    x = text(2, 9)
    assert torch.equal(stack(x).state[0].hidden, x)
    assert difference(read(stack, x, 4, 5), stack(x).hidden) < EXACT


def test_memory_holds_its_rows_and_nothing_else() -> None:
    memory = backbone(memory=3)(text(2, 9)).state[1]
    assert memory.hidden.untyped_storage().nbytes() == 2 * 3 * D_MODEL * 8


def test_a_state_of_another_batch_size_is_refused() -> None:
    stack = backbone()
    with pytest.raises(ValueError, match="2 rows of text, the segment 3"):
        stack(text(3, 4), Context(state=stack(text(2, 4)).state))
