"""Checks of state: decoding step by step, and memory from segment to segment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attention_arena.testing.trial import Trial, forward, inputs, paddings, requires, trials
from attention_arena.testing.verdict import require, require_close
from attention_arena.variant import Capability, Context, Options, State, Variant


def check_stepwise(variant: Variant, options: Options) -> None:
    """Decoding token by token equals one causal pass at every position, and a padded one at every real position."""
    requires(variant, Capability.STEPWISE)
    require(Capability.CAUSAL in variant.supports, f"{variant.name}: claims stepwise decoding without causal")
    B, T = 2, 11
    x = inputs(B, T)
    shapes: list[dict[str, str]] = [{"positions": "none"}, {"residual": "reversible"}]
    if variant.positions == "absolute":
        shapes.append({"positions": "rotary"})
    for fields in shapes:
        for trial in trials(variant, options, causal=True, **fields):
            backbone = trial.backbone()
            passes = [(valid, forward(backbone, x, Context(valid)).hidden) for valid in paddings(variant, B, T)]
            state: State | None = None
            for t in range(T):
                torch.manual_seed(2)
                hidden, state = backbone.step(x[:, t : t + 1], Context(state=state))
                for valid, expected in passes:
                    # A row that has ended is decoded on, in vain; real tokens of a padded pass came before.
                    real = slice(None) if valid is None else valid[:, t]
                    what = f"{trial}, {fields}: step {t} of {T} against one pass{'' if valid is None else ', padded'}"
                    require_close(hidden[real], expected[real, t : t + 1], what)


def check_segment_state(variant: Variant, options: Options) -> None:
    """State is detached, used, kept row by row, left as it was given, and not used by rows that do not resume.

    Segments follow each other in time, so a variant that is causal at all is looked at in its causal form.
    """
    requires(variant, Capability.SEGMENT_STATE)
    causal = True if Capability.CAUSAL in variant.supports else None
    for trial in trials(variant, options, causal=causal):
        backbone = trial.backbone().train()
        before = inputs(3, 8).requires_grad_()
        after = inputs(3, 7, seed=9)
        _, state = forward(backbone, before)
        require(state is not None, f"{trial}: the first segment returns no state")
        tensors = [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]
        n_attached = sum(tensor.requires_grad for tensor in tensors)
        require(n_attached == 0, f"{trial}: {n_attached} of {len(tensors)} tensors of the state carry a gradient")
        _check_resuming(trial, state, after)
        _check_rows(trial, before.detach(), after, state)


def _check_resuming(trial: Trial, state: State, after: Tensor) -> None:
    backbone = trial.backbone()
    fresh = forward(backbone, after).hidden
    resumed = forward(backbone, after, Context(state=state)).hidden
    again = forward(backbone, after, Context(state=state)).hidden
    require_close(again, resumed, f"{trial}: using one state twice", tolerance=0.0)
    require(bool((resumed - fresh).abs().max() > 1e-6), f"{trial}: the state changes nothing in the next segment")
    everyone = forward(backbone, after, Context(state=state, resumes=torch.ones(3, dtype=torch.bool))).hidden
    require_close(everyone, resumed, f"{trial}: all rows resume against resumes=None")
    resumes = torch.tensor([True, False, True])
    mixed, next_state = forward(backbone, after, Context(state=state, resumes=resumes))
    require_close(mixed[resumes], resumed[resumes], f"{trial}: rows that resume beside one that does not")
    require_close(mixed[~resumes], fresh[~resumes], f"{trial}: a row that does not resume against a fresh start")
    third = inputs(3, 5, seed=10)
    _, fresh_state = forward(backbone, after)
    found = forward(backbone, third, Context(state=next_state)).hidden[~resumes]
    expected = forward(backbone, third, Context(state=fresh_state)).hidden[~resumes]
    require_close(found, expected, f"{trial}: the segment after one that did not resume")


def _check_rows(trial: Trial, before: Tensor, after: Tensor, state: State) -> None:
    backbone = trial.backbone()
    changed = before.clone()
    changed[0] = inputs(1, before.shape[1], seed=11)[0]
    _, other_state = forward(backbone, changed)
    found = forward(backbone, after, Context(state=other_state)).hidden
    expected = forward(backbone, after, Context(state=state)).hidden
    require_close(
        found[1:], expected[1:], f"{trial}: rows whose own past is unchanged, when another row's past changes"
    )
    require(bool((found[0] - expected[0]).abs().max() > 1e-6), f"{trial}: a row's past does not reach its next segment")
