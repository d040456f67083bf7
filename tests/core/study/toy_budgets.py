"""Made-up variants whose parameters and FLOPs one can work out by hand."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from attention_arena.variant import Backbone, BackboneOutput, Context, ModelShape, Options, Variant
from tests.core.study.conftest import BOTH, TWO_SIDED, NoOptions


class Wide(Backbone):
    """A matrix (D, F) and as many numbers more as it is told; 2 T D F FLOPs."""

    def __init__(self, shape: ModelShape, extra: int = 0) -> None:
        super().__init__()
        self.widen = nn.Linear(shape.d_model, shape.d_ff, bias=False)
        self.extra = nn.Parameter(torch.zeros(extra))

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008
        self.widen(x)
        return BackboneOutput(x)


class ReadsItsData(Wide):
    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008
        return super().forward(x[:, : int(x.isfinite().all()) * x.shape[1]])


class MixesPositions(Wide):
    """T^2 F products beside the others."""

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008
        wide = self.widen(x)  # (B, T, F)
        wide @ wide.mT
        return BackboneOutput(x)


class ExtraOptions(Options):
    extra: int = Field(0, ge=0)


def build_stiff(options: ExtraOptions, shape: ModelShape) -> Backbone:
    return Wide(shape.model_copy(update={"d_ff": 16}), options.extra)


def build_square(options: NoOptions, shape: ModelShape) -> Backbone:
    return Wide(shape, shape.d_ff**2)


def build_extra(options: ExtraOptions, shape: ModelShape) -> Backbone:
    return Wide(shape, options.extra)


PLAIN = Variant("plain", "A matrix.", "-", BOTH, NoOptions, lambda options, shape: Wide(shape))
EXTRA = Variant("extra", "And more.", "-", BOTH, ExtraOptions, build_extra)
RELATIVE = Variant("relative", "No table.", "-", BOTH, ExtraOptions, build_extra, positions="relative")
SQUARE = Variant("square", "Grows fast.", "-", BOTH, NoOptions, build_square)
STIFF = Variant("stiff", "Heeds no d_ff.", "-", BOTH, ExtraOptions, build_stiff)
ONE_WAY = Variant("one_way", "Two-sided.", "-", TWO_SIDED, NoOptions, lambda options, shape: Wide(shape))
IDLE = Variant("idle", "For cost.", "-", BOTH, ExtraOptions, build_extra, reference=True)
CURIOUS = Variant("curious", "Reads.", "-", BOTH, NoOptions, lambda options, shape: ReadsItsData(shape))

MIXER = Variant("mixer", "Across.", "-", BOTH, NoOptions, lambda options, shape: MixesPositions(shape))
