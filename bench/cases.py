"""What is compared: model settings, cells, ideas with one set of hyper-parameters, and who implements an idea."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

Direction = Literal["bidirectional", "causal"]
Phase = Literal["inference", "training"]
Dtype = Literal["float32", "bf16"]
DIRECTIONS: tuple[Direction, ...] = ("bidirectional", "causal")
PHASES: tuple[Phase, ...] = ("training", "inference")


@dataclass(frozen=True)
class Setting:
    """A width of the model."""

    name: str
    d_model: int
    n_heads: int

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads


SETTINGS = {setting.name: setting for setting in (Setting("base", 512, 8), Setting("small", 64, 2))}


@dataclass(frozen=True)
class Cell:
    """Where implementations are compared: one width, one direction, one length; the batch is one sequence."""

    setting: Setting
    direction: Direction
    length: int

    @property
    def causal(self) -> bool:
        """Whether a token sees no later one."""
        return self.direction == "causal"

    def __str__(self) -> str:
        return f"{self.setting.name}, {self.direction}, {self.length} tokens"


@dataclass(frozen=True)
class Sizes:
    """Hyper-parameters that every implementation of an idea is given alike."""

    rank: int = 256
    features: int = 256
    window: int = 512
    """Keys besides the query's own: half on either side, or all before it in causal attention."""
    bucket: int = 64
    segment: int = 512
    memory: int = 512
    stride: int = 64


@dataclass(frozen=True)
class Idea:
    """An attention with its hyper-parameters; ours is `variant` with `options(sizes)`."""

    name: str
    variant: str
    options: Callable[[Sizes], dict[str, Any]]
    n_hashes: int = 1
    directions: tuple[Direction, ...] = DIRECTIONS


def _reformer(n_hashes: int) -> Idea:
    name = f"reformer, {n_hashes} hash{'es' if n_hashes > 1 else ''}"
    return Idea(name, "reformer", lambda sizes: {"bucket_size": sizes.bucket, "n_hashes": n_hashes}, n_hashes)


SOFTMAX = Idea("softmax", "softmax", lambda sizes: {})
IDEAS = (
    SOFTMAX,
    Idea("linformer", "linformer", lambda sizes: {"rank": sizes.rank}, directions=("bidirectional",)),
    Idea("performer", "performer", lambda sizes: {"n_features": sizes.features}),
    _reformer(1),
    _reformer(4),
    Idea("longformer", "longformer", lambda sizes: {"window": sizes.window}),
    Idea(
        "transformer_xl",
        "transformer_xl",
        lambda sizes: {"segment_length": sizes.segment, "memory": sizes.memory},
    ),
    # Both sets of keys in one softmax: a layer of the other combinations has one of them only.
    Idea(
        "sparse",
        "sparse",
        lambda sizes: {
            "pattern": "strided",
            "combination": "merged",
            "stride": sizes.stride,
            "window": sizes.stride,
        },
    ),
)


@dataclass(frozen=True)
class Implementation:
    """Who computes an idea; `build(cell, sizes)` returns a layer from (B, T, D) to (B, T, D) that takes `valid=`."""

    name: str
    idea: Idea
    build: Callable[[Cell, Sizes], nn.Module] = field(compare=False)
    directions: tuple[Direction, ...] = DIRECTIONS
    package: str | None = None
    """Distribution that it comes from; None is ours."""
    counts: bool = True
    """Whether it computes the same idea under the same hyper-parameters, so that it can be the best peer."""
    remark: str = ""
    """What a reader of its figures must know."""

    @property
    def is_ours(self) -> bool:
        """Whether it is a variant of ours."""
        return self.package is None
