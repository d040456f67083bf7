"""What a layer owes its user, checked on a tiny one: any length, causality, padding, and the formula it stands for.

In float32, because compiled kernels know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bench.cases import Cell, Direction, Implementation, Setting, Sizes

TINY = Setting("tiny", 32, 2)
LENGTH = 32
SIZES = Sizes(rank=4, features=16, window=16, bucket=4, segment=8, memory=8, stride=4)
TOLERANCE = 1e-4
"""Of the largest output: float32 sums in another order differ by about 1e-6, leaks by 1e-3 and more."""


class Finding(NamedTuple):
    """What one check found of one implementation in one direction."""

    implementation: str
    direction: Direction
    check: str
    verdict: Literal["passed", "failed", "not applicable"]
    detail: str


class NotApplicable(Exception):  # noqa: N818 - not an error: there is nothing to check
    """The check has nothing to say about this layer; the message says why."""


class Broken(Exception):  # noqa: N818 - a finding
    """The check fails; the message says how."""


def check(implementation: Implementation, direction: Direction) -> Iterator[Finding]:
    """Yield what each check finds; whatever a layer raises is a failure with its message."""
    cell = Cell(TINY, direction, LENGTH)
    try:
        implementation.build(cell, SIZES)
    # Foreign code, which can fail in any way.
    except Exception as error:
        yield Finding(implementation.name, direction, "build", "failed", describe(error))
        return
    for name, run in CHECKS.items():
        verdict: Literal["passed", "failed", "not applicable"] = "passed"
        detail = ""
        try:
            torch.manual_seed(0)
            run(implementation.build(cell, SIZES).eval(), cell)
        except NotApplicable as reason:
            verdict, detail = "not applicable", str(reason)
        except Exception as error:
            verdict = "failed"
            detail = str(error) if isinstance(error, Broken) else describe(error)
        yield Finding(implementation.name, direction, name, verdict, detail)


def describe(error: BaseException) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def check_lengths(layer: nn.Module, cell: Cell) -> None:
    """Any length up to the one it was built for works."""
    refused = {}
    for T in (1, 13, LENGTH - 1):
        try:
            found = _run(layer, _input(1, T))
        except Exception as error:
            refused[T] = describe(error)
            continue
        if found.shape != (1, T, TINY.d_model):
            refused[T] = f"output of shape {tuple(found.shape)}"
    if refused:
        lengths = ", ".join(map(str, refused))
        raise Broken(f"{lengths} tokens: {next(iter(refused.values()))}")


def check_gradient_causality(layer: nn.Module, cell: Cell) -> None:
    """No output has a gradient from a later input."""
    _require_causal(cell)
    x = _input(1, LENGTH).requires_grad_()
    torch.manual_seed(2)
    hidden = layer(x)
    for t in (0, 5, 15, 26):
        (gradient,) = torch.autograd.grad(hidden[:, t].sum(), [x], retain_graph=True)
        reach = int((gradient[0, t + 1 :] != 0).any(-1).sum())
        if reach:
            raise Broken(f"output {t} has a gradient from {reach} later inputs")


def check_causality(layer: nn.Module, cell: Cell) -> None:
    """Replacing later tokens, by five times larger ones, changes no earlier output."""
    _require_causal(cell)
    x, other = _input(1, LENGTH), _input(1, LENGTH, seed=7)
    expected = _run(layer, x)
    for t in (0, 5, 15, 26):
        found = _run(layer, torch.cat([x[:, : t + 1], 5 * other[:, t + 1 :]], dim=1))
        _require_close(found[:, : t + 1], expected[:, : t + 1], f"outputs up to {t} when later tokens are replaced")


def check_padding(layer: nn.Module, cell: Cell) -> None:
    """What padding holds changes nothing, and a padded row equals the row alone."""
    _require_mask(layer)
    x, T = _input(2, LENGTH), LENGTH // 2
    valid = torch.arange(LENGTH) < torch.tensor([LENGTH, T])[:, None]
    noisy = torch.where(valid[..., None], x, 100 * _input(2, LENGTH, seed=8))
    padded = _run(layer, x, valid)
    _require_close(_run(layer, noisy, valid)[valid], padded[valid], "other padding")
    if getattr(layer, "random", False):
        return
    try:
        alone = _run(layer, x[1:, :T])
    # A layer that refuses the shorter length fails another check.
    except Exception:
        return
    _require_close(padded[1:, :T], alone, "a padded row against the row alone")


def check_empty_row(layer: nn.Module, cell: Cell) -> None:
    """A row without any real token gives finite values."""
    _require_mask(layer)
    valid = torch.ones(2, LENGTH, dtype=torch.bool)
    valid[1] = False
    n_bad = int((~torch.isfinite(_run(layer, _input(2, LENGTH), valid))).sum())
    if n_bad:
        raise Broken(f"{n_bad} values are NaN or infinite")


def check_formula(layer: nn.Module, cell: Cell) -> None:
    """The result equals the plain n x n form with the same weights."""
    dense: Any = getattr(layer, "dense", None)
    if dense is None:
        raise NotApplicable("its plain form is compared in the test suite")
    x = _input(2, LENGTH)
    found = _run(layer, x)
    with torch.no_grad():
        expected = dense(x)
    if expected is None:
        raise NotApplicable("chance decides what it attends to" if getattr(layer, "random", False) else "no formula")
    _require_close(found, expected, "against the plain form")


CHECKS: dict[str, Callable[[nn.Module, Cell], None]] = {
    "any length": check_lengths,
    "gradient causality": check_gradient_causality,
    "causality": check_causality,
    "padding": check_padding,
    "empty row": check_empty_row,
    "formula": check_formula,
}


def _input(B: int, T: int, seed: int = 1) -> Tensor:
    return torch.randn(B, T, TINY.d_model, generator=torch.Generator().manual_seed(seed))


def _run(layer: nn.Module, x: Tensor, valid: Tensor | None = None) -> Tensor:
    torch.manual_seed(2)
    with torch.no_grad():
        # Some packages change what they are given.
        return layer(x.clone()) if valid is None else layer(x.clone(), valid=valid.clone())  # type: ignore[no-any-return]


def _require_causal(cell: Cell) -> None:
    if not cell.causal:
        raise NotApplicable("bidirectional")


def _require_mask(layer: nn.Module) -> None:
    if not getattr(layer, "takes_mask", True):
        raise NotApplicable("takes no mask of padding")


def _require_close(found: Tensor, expected: Tensor, what: str) -> None:
    scale = max(1.0, float(expected.abs().max()))
    difference = float((found - expected).abs().max()) / scale
    # A comparison with NaN is false, so it is written such that NaN fails.
    if not difference <= TOLERANCE:
        raise Broken(f"{what}: differs by {difference:.2g}")
