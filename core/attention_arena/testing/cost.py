"""Check of the claimed cost: FLOPs over sequence length, counted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from attention_arena.measures.compute.flops import count_flops
from attention_arena.testing.trial import Trial, inputs, trials
from attention_arena.testing.verdict import NotApplicable, require
from attention_arena.variant import Complexity, Options, Variant

LENGTHS = (1024, 4096, 16384)
"""Fourfold steps, so that a block size of sqrt(n) is whole at each of them."""
SHORT_LENGTHS = (32, 128, 512)
WIDTH = 8
"""Tiny, so that attention outweighs the projections."""
TOLERANCE = 0.05
"""Allowed difference of exponents where the claimed one is whole."""
ROOT_TOLERANCE = 0.07
"""The same where it is not: block sizes that follow a root grow in steps."""


def check_cost(variant: Variant, options: Options) -> None:
    """The FLOPs of one layer grow with sequence length as claimed: so under the first `check_options`, at most so else.

    Counted on the meta device, which computes shapes alone; a variant that must see its data is counted on the CPU, at
    shorter lengths.
    """
    if variant.complexity is None:
        raise NotApplicable(f"{variant.name} claims no complexity")
    is_first = options == variant.options(**variant.check_options[0])
    claim = variant.complexity if is_first else variant.complexity._replace(at_most=True)
    for trial in trials(variant, options):
        lengths, device = LENGTHS if is_first else SHORT_LENGTHS, "meta"
        try:
            flops = [_flops(variant, options, trial.shape.causal, length, device) for length in lengths]
        except (RuntimeError, TypeError):
            lengths, device = SHORT_LENGTHS, "cpu"
            flops = [_flops(variant, options, trial.shape.causal, length, device) for length in lengths]
        require_growth(claim, lengths, flops, f"{trial}, counted on {device}")


def _flops(variant: Variant, options: Options, causal: bool, length: int, device: str) -> int:
    (trial,) = trials(variant, options, causal=causal, d_model=WIDTH, d_ff=1, n_layers=1, max_length=length)
    return count_on(device, trial, length)


def count_forward(trial: Trial, length: int) -> int:
    """Return the FLOPs of a forward over `length` tokens, on the meta device unless the variant must see its data."""
    try:
        return count_on("meta", trial, length)
    except (RuntimeError, TypeError):
        return count_on("cpu", trial, length)


def count_on(device: str, trial: Trial, length: int) -> int:
    """Return the FLOPs of a forward over `length` tokens on a device."""
    with torch.device(device):
        backbone = trial.backbone(dtype=torch.float32)
    width = trial.shape.d_model
    x = inputs(1, 1, dtype=torch.float32, width=width).expand(1, length, width).to(device)
    with torch.no_grad():
        return count_flops(lambda: backbone(x))


def require_growth(complexity: Complexity, lengths: Sequence[int], flops: Sequence[int], what: str) -> None:
    """Raise `ContractError` unless FLOPs at three fourfold lengths grow with the claimed exponent.

    Of an exponent above 1, projections (4 n d^2) are taken out first: f(4n) - 4 f(n) is free of all that is linear.
    """
    claimed = complexity.time
    tolerance = TOLERANCE if claimed == round(claimed) else ROOT_TOLERANCE
    overall = _exponent(lengths[-2:], flops[-2:])
    expected = f"claimed {'at most ' if complexity.at_most else ''}n^{claimed:g} ({complexity.formula})"
    found = f"{what}: FLOPs grow like n^{overall:.3f}, {expected}"
    require(overall <= claimed + tolerance, found)
    if complexity.at_most:
        return
    if claimed == 1:
        require(overall >= claimed - tolerance, found)
        return
    beyond_linear = [after - 4 * before for before, after in itertools.pairwise(flops)]
    require(min(beyond_linear) > 0, found)
    exponent = _exponent(lengths[-2:], beyond_linear)
    require(
        abs(exponent - claimed) <= tolerance,
        f"{what}: without their linear part, FLOPs grow like n^{exponent:.3f}, {expected}",
    )


def _exponent(lengths: Sequence[int], values: Sequence[int]) -> float:
    return math.log(values[1] / values[0]) / math.log(lengths[1] / lengths[0])
