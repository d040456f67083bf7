"""Check that a layer computes little beside what its paper counts."""

from __future__ import annotations

from typing import Any

from attention_arena.testing.cost import count_forward
from attention_arena.testing.trial import trials
from attention_arena.testing.verdict import NotApplicable, require
from attention_arena.variant import Options, Variant

WIDTH, LENGTH = 64, 1024
"""Of the look under given options: their sets of keys are smaller than a block, so projections must weigh as well."""
NARROW, LONGER = 8, 4096
"""Of the look under the variant's own defaults, where attention is nearly all."""
MOST = 2.0
"""FLOPs that a layer may take, relative to the paper's: a causal product of whole matrices takes twice its triangle."""


def check_waste(variant: Variant, options: Options) -> None:
    """The FLOPs of one layer are at most twice those of `variant.paper_flops`; with the first options, by default too.

    A formula read off an implementation (`Variant.cost`) agrees with whatever is computed and then masked; this one
    knows the paper's sets alone.
    """
    if variant.paper_flops is None:
        raise NotApplicable(f"{variant.name} states no FLOPs of its paper")
    looks = [("", options, WIDTH, LENGTH)]
    if options == variant.options(**variant.check_options[0]):
        looks.append((", default options", variant.options(), NARROW, LONGER))
    for what, chosen, width, length in looks:
        sizes: dict[str, Any] = {"d_model": width, "d_ff": 1, "n_layers": 1, "positions": "none", "max_length": length}
        for trial in trials(variant, chosen, **sizes):
            expected = variant.paper_flops(chosen, trial.shape, length)
            found = count_forward(trial, length)
            require(
                found <= MOST * expected,
                f"{trial}, {length} tokens{what}: {found:,.0f} FLOPs counted, {found / expected:.2f} times the"
                f" paper's {expected:,.0f}; allowed {MOST:g}",
            )
