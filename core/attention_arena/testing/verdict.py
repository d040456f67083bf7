"""How a check speaks: what it requires, and the words for what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

EXACT = 1e-9
"""Allowed difference of two computations of the same float64 numbers, relative to the largest, or to 1."""


class NotApplicable(Exception):  # noqa: N818 - not an error: the check has nothing to say about this variant or task
    """The check asks for something that the variant or the task does not claim; the message says what."""


class ContractError(AssertionError):
    """The contract does not hold; the message says where, what was found and what was expected."""


class Finding(NamedTuple):
    """What one check found of a variant (under one of its `check_options`) or of a task."""

    check: str
    options: Mapping[str, Any]
    verdict: Literal["passed", "failed", "expected failure", "not applicable"]
    detail: str | None
    """Why, for every verdict but `passed`."""


def require(holds: bool, message: str) -> None:
    """Raise `ContractError` unless `holds`."""
    if not holds:
        raise ContractError(message)


def require_close(found: Tensor, expected: Tensor, what: str, tolerance: float = EXACT) -> None:
    """Raise `ContractError` unless two tensors agree to `tolerance`, relative to the larger of 1 and the values."""
    require(found.shape == expected.shape, f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    if not found.numel():
        return
    scale = max(1.0, expected.detach().abs().max().item())
    difference = (found.detach().double() - expected.detach().double()).abs().max().item()
    # A comparison with NaN is false, so it is written such that NaN fails.
    require(difference <= tolerance * scale, f"{what}: differs by {difference:.3g}, allowed {tolerance * scale:.3g}")


def require_finite(tensor: Tensor | None, what: str) -> None:
    """Raise `ContractError` if a tensor holds NaN or an infinity."""
    if tensor is not None:
        n_bad = int((~torch.isfinite(tensor)).sum())
        require(n_bad == 0, f"{what}: {n_bad} of {tensor.numel()} values are NaN or infinite")
