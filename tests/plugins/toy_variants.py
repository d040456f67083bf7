"""Attention variants of a few lines: sound ones, and broken ones that differ from them in one thing each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, HeadAttention, Stack
from attention_arena.variant import Capability, Complexity, Context, ModelShape, Options, Variant


class Sound(HeadAttention):
    """Softmax attention that keeps the contract; the broken ones below differ in one thing each."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.causal = shape.causal

    def allowed(self, T: int, context: Context) -> Tensor:
        allowed = torch.ones(1, 1, T, T, dtype=torch.bool)
        allowed = allowed.tril() if self.causal else allowed
        return allowed if context.valid is None else allowed & context.valid[:, None, None, :]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        allowed = self.allowed(query.shape[2], context).to(query.device)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        scores = scores.masked_fill(~allowed, -torch.inf).masked_fill(~allowed.any(-1, keepdim=True), 0.0)
        return (scores.softmax(-1) * allowed.any(-1, keepdim=True)).to(value.dtype) @ value

    def attend_step(self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: Any) -> tuple[Tensor, Any]:
        keys, values = (key, value) if kept is None else (torch.cat([kept[0], key], 2), torch.cat([kept[1], value], 2))
        weights = (query @ keys.mT * query.shape[-1] ** -0.5).softmax(-1)
        return weights @ values, (keys, values)


class RefusesOddLengths(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        if query.shape[2] % 2:
            raise RuntimeError("the length must be even")
        return super().attend(query, key, value, context)


class DoublesItsPrecision(Sound):
    def forward_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        return AttentionOutput(super().forward_raw(x, norm, context).hidden.double())


class ForgetsABuffer(Sound):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.scales = 1 + torch.rand(shape.d_model // shape.n_heads, dtype=torch.float64)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query * self.scales.to(query), key, value, context)


class DrawsInEvaluation(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query + 1e-3 * torch.randn_like(query), key, value, context)


class CutsAGradient(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query, key.detach(), value, context)


class _SquareOfFirstOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * grad


class CutsAGradientOfPaddedRows(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query, key if context.valid is None else key.detach(), value, context)


class ForgetsASecondDerivative(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        squares: Tensor = _SquareOfFirstOrder.apply(value)  # type: ignore[no-untyped-call]
        return super().attend(query, key, squares, context)


class LeaksTheFuture(Sound):
    def allowed(self, T: int, context: Context) -> Tensor:
        return super().allowed(T, context) | torch.ones(T, T, dtype=torch.bool).tril(1)


class LeaksTheFutureOfPaddedRows(LeaksTheFuture):
    def allowed(self, T: int, context: Context) -> Tensor:
        allowed = super().allowed(T, context)
        return allowed if context.valid is not None else Sound.allowed(self, T, context)


class LeaksThroughAMaximum(Sound):
    """What a stabiliser over all positions does: no gradient, and yet the future is seen."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query, key / key.detach().abs().amax((2, 3), keepdim=True), value, context)


class IgnoresPadding(Sound):
    def allowed(self, T: int, context: Context) -> Tensor:
        return super().allowed(T, Context())


class MasksByALargeNumber(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        scores = query @ key.mT * query.shape[-1] ** -0.5
        scores = scores.masked_fill(~self.allowed(query.shape[2], context), -20.0)
        return scores.softmax(-1) @ value


class NanOnEmptyRows(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        scores = query @ key.mT * query.shape[-1] ** -0.5
        return scores.masked_fill(~self.allowed(query.shape[2], context), -torch.inf).softmax(-1) @ value


class AveragesOnEmptyRows(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        scores = query @ key.mT * query.shape[-1] ** -0.5
        allowed = self.allowed(query.shape[2], context)
        allowed = allowed | ~allowed.any(-1, keepdim=True)
        return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value


class DividesByItsNorm(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query, key / key.norm(dim=-1, keepdim=True), value, context)


class ExponentiatesWithoutAMaximum(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        allowed = self.allowed(query.shape[2], context)
        weights = (query @ key.mT * query.shape[-1] ** -0.5).exp() * allowed
        return weights / weights.sum(-1, keepdim=True).clamp(min=1e-30) @ value


class ForgetsWhileDecoding(Sound):
    def attend_step(self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: Any) -> tuple[Tensor, Any]:
        heads, (keys, values) = super().attend_step(query, key, value, position, kept)
        return heads, (keys[:, :, -3:], values[:, :, -3:])


class ForgetsTheFirstTokenOfPaddedRows(Sound):
    def allowed(self, T: int, context: Context) -> Tensor:
        allowed = super().allowed(T, context)
        hidden = (torch.arange(T) == 0) & (torch.arange(T)[:, None] > 0)
        return allowed if context.valid is None else allowed & ~hidden


class MixesRows(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query, key, value - 0.1 * value.mean(0, keepdim=True), context)


class CountsRows(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        row = torch.arange(len(value), dtype=value.dtype)[:, None, None, None]
        return super().attend(query, key, value * (1 + row), context)


class WeighsByTwo(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return 2 * super().attend(query, key, value, context)


class ScalesOneHead(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        scale = 1 + 0.1 * torch.arange(query.shape[1], dtype=query.dtype)
        return super().attend(query, key, value, context) * scale[:, None, None]


class SharpensOneHead(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return super().attend(query * torch.arange(1, 3, dtype=query.dtype)[:, None, None], key, value, context)


class SeesMoreWithOneHead(Sound):
    """Heads that differ on purpose, as their masks show."""

    def allowed(self, T: int, context: Context) -> Tensor:
        near = torch.ones(T, T, dtype=torch.bool).triu(-2).tril(2)
        return super().allowed(T, context) & torch.stack([near, torch.ones_like(near)])


class ReturnsMoreThanItsWeights(Sound):
    """Its weights sum to 1, and it returns 1.1 times the values under them."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(1.1 * super().forward(x, context).hidden)


class WeighsByAnotherMatrix(Sound):
    def weights(self, x: Tensor, context: Context) -> Tensor:
        return super().weights(x, context).flip(1)


class ComputesThreeTimes(Sound):
    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return sum(super(ComputesThreeTimes, self).attend(query, key, value, context) for _ in range(3)) / 3


class DrawsWithItsOwnGenerator(Sound):
    """Dropout that a recomputation cannot repeat."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.generator = torch.Generator().manual_seed(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        if self.training:
            value = value * (torch.rand(value.shape, generator=self.generator) < 0.9)
        return super().attend(query, key, value, context)


class Recurrent(Attention):
    """Softmax attention over the last segment's mean and this segment; keeps the contract of segment state."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.inner = Sound(shape)

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        before = self.before(x, context)
        return AttentionOutput(self.inner(x, context).hidden + before[:, None], state=self.after(x))

    def before(self, x: Tensor, context: Context) -> Tensor:
        before = torch.zeros_like(x[:, 0]) if context.state is None else context.state
        self.require_rows(before, x)
        return before if context.resumes is None else before * context.resumes[:, None]

    def require_rows(self, before: Tensor, x: Tensor) -> None:
        if len(before) != len(x):
            raise ValueError(f"the state has {len(before)} rows, the segment {len(x)}; start without state")

    def after(self, x: Tensor) -> Tensor:
        return x.mean(1).detach()


class TakesTheStateOfOtherRows(Recurrent):
    def require_rows(self, before: Tensor, x: Tensor) -> None:
        pass


class KeepsNoState(Recurrent):
    def after(self, x: Tensor) -> Any:
        return None


class KeepsAGradient(Recurrent):
    def after(self, x: Tensor) -> Tensor:
        return x.mean(1)


class IgnoresItsState(Recurrent):
    def before(self, x: Tensor, context: Context) -> Tensor:
        return torch.zeros_like(x[:, 0])


class AlwaysResumes(Recurrent):
    def before(self, x: Tensor, context: Context) -> Tensor:
        return super().before(x, context._replace(resumes=None))


class SharesItsState(Recurrent):
    def before(self, x: Tensor, context: Context) -> Tensor:
        before = super().before(x, context)
        return before if context.state is None else before + context.state.mean(0)


class ChangesItsState(Recurrent):
    def before(self, x: Tensor, context: Context) -> Tensor:
        before = super().before(x, context)
        if context.state is not None:
            context.state.mul_(0.5)
        return before


RECURRENT = (
    Recurrent, TakesTheStateOfOtherRows, KeepsNoState, KeepsAGradient, IgnoresItsState, AlwaysResumes, SharesItsState,
    ChangesItsState,
)  # fmt: skip


def variant_of(attention: Callable[[ModelShape], Attention], **changes: Any) -> Variant:
    supports = {Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING}
    supports |= {Capability.SEGMENT_STATE if attention in RECURRENT else Capability.STEPWISE}
    plain = Variant(
        name="toy",
        summary="A toy.",
        paper="none",
        supports=frozenset(supports),
        options=Options,
        build=lambda options, shape: Stack(shape, lambda layer: attention(shape)),
        complexity=Complexity(time=2.0, memory=2.0, formula="n^2 d"),
    )
    return replace(plain, **changes)
