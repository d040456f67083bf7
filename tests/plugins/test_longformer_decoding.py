"""Longformer token by token, and how its global tokens are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.longformer import LONGFORMER, LongformerOptions
from attention_arena_variants.longformer.attention import LongformerAttention
from attention_arena_variants.longformer.decoding import Kept
from attention_arena_variants.longformer.landmarks import Landmarks, find_landmarks, overwrite, pick

D = 8

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(positions: str = "none", **options: Any) -> LongformerAttention:
    torch.manual_seed(0)
    shape = ModelShape(d_model=D, n_heads=2, n_layers=1, max_length=32, causal=True, positions=positions)  # type: ignore[arg-type]
    attention = LONGFORMER.build(LongformerOptions(**options), shape).double().eval().blocks[0].attention  # type: ignore[union-attr, index]
    assert isinstance(attention, LongformerAttention)
    with torch.no_grad():
        attention.project_globally.weight.normal_(std=0.5)
    return attention


def decode(attention: LongformerAttention, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, list[Kept]]:
    """Return hidden states of all steps, and the state after each."""
    state, found, states = None, [], []
    for t in range(x.shape[1]):
        here = None if valid is None else valid[:, t : t + 1]
        output = attention.step(x[:, t : t + 1], Context(valid=here, state=state))
        state = output.state
        assert isinstance(state, Kept)
        found.append(output.hidden)
        states.append(state)
    return torch.cat(found, 1), states


@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(
    "options",
    [
        {"window": 4},
        {"window": 2, "dilation": 3},
        {"window": 4, "dilation": ((1, 2),), "n_landmarks": 3},
        {"window": 4, "n_landmarks": 5, "global_projections": False},
        {"window": 2, "dilation": ((4, 1),), "n_landmarks": 1},
        {"window": 32, "n_landmarks": 2},
        {"window": 2, "n_landmarks": 20},
    ],
    ids=str,
)
def test_steps_equal_one_causal_pass(options: dict[str, Any], padded: bool, positions: str) -> None:
    attention, x = layer(positions, **options), torch.randn(2, 19, D, dtype=torch.float64)
    valid = torch.rand(2, 19) < 0.7 if padded else None
    found, _ = decode(attention, x, valid)
    torch.testing.assert_close(found, attention(x, Context(valid)).hidden, rtol=0, atol=1e-10)


def test_what_is_kept_does_not_grow() -> None:
    """As many tokens as the most dilated head reaches back, and the global ones; all tokens only while these come."""
    attention = layer(window=4, dilation=((1, 2),), n_landmarks=3)
    _, states = decode(attention, torch.randn(1, 25, D, dtype=torch.float64))
    assert [state.sight is not None for state in states[:4]] == [True, True, False, False]
    for state in states[10:]:
        assert state.window is not None
        assert state.first is not None
        assert state.window.key.shape[2] == 8
        assert state.first.key.shape[2] == 3
        assert not state.window.key.requires_grad


def test_a_state_can_be_used_twice() -> None:
    attention, x = layer(window=4, n_landmarks=2), torch.randn(1, 6, D, dtype=torch.float64)
    _, states = decode(attention, x[:, :5])
    once, again = (attention.step(x[:, 5:], Context(state=states[-1])).hidden for _ in range(2))
    assert torch.equal(once, again)


def test_a_state_of_other_rows_is_refused() -> None:
    attention = layer(window=4)
    _, states = decode(attention, torch.randn(2, 3, D, dtype=torch.float64))
    with pytest.raises(ValueError, match="the state has 2 rows, the step 1; start without state"):
        attention.step(torch.randn(1, 1, D, dtype=torch.float64), Context(state=states[-1]))


def test_a_landmark_is_refused_where_its_keys_are_forgotten() -> None:
    attention, x = layer(window=2, n_landmarks=1), torch.randn(1, 2, D, dtype=torch.float64)
    marked, unmarked = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    state = attention.step(x[:, :1], Context(landmarks=marked)).state
    attention.step(x[:, 1:], Context(landmarks=unmarked, state=state))
    with pytest.raises(ValueError, match=r"a landmark at position 1 .* let n_landmarks \(1\) cover the position"):
        attention.step(x[:, 1:], Context(landmarks=marked, state=state))


def found(n_first: int, T: int, landmarks: Tensor | None, valid: Tensor | None) -> Landmarks | None:
    return find_landmarks(Context(valid, landmarks), n_first, torch.zeros(2, T, D))


def positions_of(landmarks: Landmarks) -> list[list[int]]:
    pairs = zip(landmarks.positions, landmarks.listed, strict=True)
    return [places[listed].tolist() for places, listed in pairs]


def test_landmarks_are_the_first_tokens_and_the_tasks_but_no_padding() -> None:
    marked = torch.tensor([[0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 0]]).bool()
    valid = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]]).bool()
    for n_first, given, real, expected in (
        (0, marked, None, [[3, 5], [1]]),
        (0, marked, valid, [[3], [1]]),
        (2, None, None, [[0, 1], [0, 1]]),
        (2, None, valid, [[0, 1], [1]]),
        (2, marked, None, [[0, 1, 3, 5], [0, 1]]),
        (2, marked, valid, [[0, 1, 3], [1]]),
        (9, None, None, [list(range(6))] * 2),
    ):
        landmarks = found(n_first, 6, given, real)
        assert landmarks is not None
        assert positions_of(landmarks) == expected
        places = [row.nonzero().squeeze(-1).tolist() for row in landmarks.marked]
        assert places == expected
        assert all(len(set(row.tolist())) == len(row) for row in landmarks.positions)


def test_without_any_landmark_there_are_none() -> None:
    none = torch.zeros(2, 6, dtype=torch.bool)
    assert found(0, 6, None, None) is None
    assert found(0, 6, none, None) is None
    assert found(0, 6, ~none, none) is None


def test_only_landmarks_are_overwritten() -> None:
    landmarks = found(0, 6, torch.tensor([[0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 0]]).bool(), None)
    assert landmarks is not None
    heads = torch.randn(2, 6, 1, 3)
    replaced = overwrite(heads, torch.full((2, 2, 1, 3), 7.0), landmarks)
    assert (replaced[landmarks.marked] == 7).all()
    assert torch.equal(replaced[~landmarks.marked], heads[~landmarks.marked])
    assert torch.equal(pick(heads, landmarks)[0], heads[0, [3, 5]])
