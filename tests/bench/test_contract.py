"""Proof that each check of the benchmark can fail, and that our own layers pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.adapters.layer import PeerLayer, attend_densely, band
from bench.cases import IDEAS, Cell, Direction, Implementation, Sizes
from bench.contract import CHECKS, TINY, check
from bench.layers import OURS


class Sound(PeerLayer):
    """Softmax attention with one head; the broken ones below differ in one thing each."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        self.causal = cell.causal
        self.project = nn.Linear(TINY.d_model, 3 * TINY.d_model)

    def allowed(self, T: int) -> Tensor:
        return band(T, T, 0 if self.causal else T)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        query, key, value = (part.unsqueeze(1) for part in self.project(x).chunk(3, -1))
        allowed = self.allowed(x.shape[1])
        if valid is not None:
            allowed = allowed & valid[:, None, None, :] | ~valid.any(-1)[:, None, None, None]
        return attend_densely(query, key, value, allowed).squeeze(1)

    def dense(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        scores = query @ key.mT * TINY.d_model**-0.5
        hidden: Tensor = scores.masked_fill(~self.allowed(x.shape[1]), -torch.inf).softmax(-1) @ value
        return hidden


class RefusesOddLengths(Sound):
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        if x.shape[1] % 2:
            raise RuntimeError("the length must be even")
        return super().forward(x, valid)


class SeesTheNextToken(Sound):
    def allowed(self, T: int) -> Tensor:
        return band(T, T, 1 if self.causal else T)


class ShiftsByTheWholeMean(Sound):
    """Leaks the future through a constant, as a shared maximum does: no gradient shows it."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(x, valid) + x.detach().mean()


class IgnoresPadding(Sound):
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(x)


class DividesByNothing(Sound):
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        hidden = super().forward(x, valid)
        return hidden if valid is None else hidden / valid.any(-1)[:, None, None]


class DoublesItsResult(Sound):
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return 2 * super().forward(x, valid)


def verdicts(build: Callable[[Cell, Sizes], nn.Module], direction: Direction) -> dict[str, str]:
    return {found.check: found.verdict for found in check(Implementation("toy", IDEAS[0], build), direction)}


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_a_sound_layer_passes(direction: Direction) -> None:
    found = verdicts(Sound, direction)
    expected = dict.fromkeys(CHECKS, "passed")
    if direction == "bidirectional":
        expected |= {"gradient causality": "not applicable", "causality": "not applicable"}
    assert found == expected


@pytest.mark.parametrize(
    ("toy", "direction", "fails"),
    [
        (RefusesOddLengths, "causal", {"any length"}),
        (SeesTheNextToken, "causal", {"gradient causality", "causality"}),
        (ShiftsByTheWholeMean, "causal", {"causality", "padding", "formula"}),
        (IgnoresPadding, "bidirectional", {"padding"}),
        (DividesByNothing, "causal", {"empty row"}),
        (DoublesItsResult, "causal", {"formula"}),
    ],
)
def test_a_broken_layer_fails_its_check(toy: type[Sound], direction: Direction, fails: set[str]) -> None:
    assert {name for name, verdict in verdicts(toy, direction).items() if verdict == "failed"} == fails


def test_a_layer_that_cannot_be_built_is_one_failure() -> None:
    def build(cell: Cell, sizes: Sizes) -> nn.Module:
        raise ModuleNotFoundError("No module named 'theirs'")

    assert verdicts(build, "causal") == {"build": "failed"}


@pytest.mark.parametrize("ours", OURS, ids=lambda each: each.name)
def test_our_layers_pass_but_for_their_declared_caveat(ours: Implementation) -> None:
    for direction in ours.directions:
        failed = {found.check for found in check(ours, direction) if found.verdict == "failed"}
        # Sorting moves chunk boundaries, which the variant declares.
        allowed = {"causality"} if ours.idea.variant == "reformer" and direction == "causal" else set()
        assert failed <= allowed, (direction, failed)
