"""What an attention variant is: the contract between core and a variant's plugin.

A variant supplies its difference from the shared Transformer and nothing else, on one of three rungs:
`HeadAttention.attend` (heads in, heads out), `Attention` (hidden states in and out, own projections) or `Backbone`
(anything from (B, T, D) to (B, T, D)). The first two live in `attention_arena.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

State = Any
"""What a layer or a backbone keeps between segments or steps; opaque to core."""


class Capability(Enum):
    """What a variant can do; a task's objective names what it requires, and the plan compares the two."""

    BIDIRECTIONAL = "bidirectional"
    CAUSAL = "causal"
    PADDING = "padding"
    SEGMENT_STATE = "segment_state"
    """Carries state from one training segment to the next (Transformer-XL's memory)."""
    STEPWISE = "stepwise"
    """Decodes token by token with a state (`Backbone.step`), equal to one causal pass."""


class Options(BaseModel):
    """Base of every options model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelSettings(Options):
    """The shared shape of a study's models, as its `model:` block gives it."""

    d_model: int = Field(64, ge=1, description="width of the hidden states (D)")
    n_heads: int = Field(2, ge=1, description="attention heads (H); d_model must be a multiple of it")
    n_layers: int = Field(2, ge=1, description="blocks in the stack")
    d_ff: int = Field(128, ge=1, description="width of the feed-forward layer (F)")
    d_classifier: int | None = Field(None, ge=1, description="width of a classifier's hidden layer; null: d_ff")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout after embedding, attention and feed-forward")
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = Field(
        "learned", description="absolute positions; ignored by a variant that brings relative ones"
    )
    norm: Literal["pre", "post"] = Field("pre", description="layer norm before each sub-layer, or after its residual")
    activation: Literal["gelu", "relu", "quick_gelu"] = Field(
        "gelu", description="activation of the feed-forward layer"
    )
    pooling: Literal["mean", "cls"] = Field("mean", description="how a classifier pools the sequence")
    residual: Literal["plain", "checkpointed", "reversible"] = Field(
        "plain", description="residual stack: keep activations, recompute them, or reconstruct them"
    )
    feed_forward_chunks: int = Field(1, ge=1, description="pieces along the sequence for the feed-forward layer")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelSettings:
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads ({self.n_heads}), got {self.d_model}; nearest is"
                f" {max(1, round(self.d_model / self.n_heads)) * self.n_heads}"
            )
        if self.positions == "rotary" and (self.d_model // self.n_heads) % 2:
            raise ValueError(f"rotary positions need an even head width, got {self.d_model // self.n_heads}")
        if self.norm == "post" and self.residual == "reversible":
            raise ValueError("a reversible stack needs norm: pre, because its streams are never normalised")
        return self

    @property
    def d_head(self) -> int:
        """Width of one head (E)."""
        return self.d_model // self.n_heads

    @property
    def classifier_width(self) -> int:
        """Width of the hidden layer of a head that classifies."""
        return self.d_classifier or self.d_ff


class ModelShape(ModelSettings):
    """The part of the model that every variant in a study shares, on one task.

    `max_length` counts the tokens that the backbone can see at once (the task's length, plus the CLS token if any).
    """

    max_length: int = Field(ge=1, description="longest sequence in tokens")
    causal: bool = Field(False, description="position t may look at positions up to t only")


class Context(NamedTuple):
    """What a layer may know about a batch besides its hidden states.

    - `valid` (B, T) bool: True at real tokens; None means all are real.
    - `landmarks` (B, T) bool: tokens that the task singles out (Longformer's global tokens); None means none.
    - `state`: what the segment or step before returned; None at the start.
    - `resumes` (B,) bool: rows that continue their state; None means every row does when a state is given.
    - `replay`: what this layer returned as `replay`, when its forward is repeated to reconstruct activations.
    """

    valid: Tensor | None = None
    landmarks: Tensor | None = None
    state: State | None = None
    resumes: Tensor | None = None
    replay: Any = None


class BackboneOutput(NamedTuple):
    """Hidden states (B, T, D) and the detached state for the next segment (None if the variant keeps none)."""

    hidden: Tensor
    state: State | None = None


class Backbone(nn.Module):
    """Rung 3: a module from (B, T, D) to (B, T, D), for any T from 1 to `max_length`."""

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode `x` (B, T, D); positions outside `context.valid` may hold anything finite."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def step(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode the next token `x` (B, 1, D) given `context.state` of the step before (None at the first token).

        Equal to `forward` on all tokens so far, at the last position. Only variants with `STEPWISE` have it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not decode step by step")


class Complexity(NamedTuple):
    """Claimed exponent of attention cost in sequence length, for the report and the contract suite."""

    time: float
    """Exponent e of n^e multiply-adds."""
    memory: float
    """Exponent of what training keeps for backward."""
    formula: str
    """The paper's expression, as text: `n^2 d`."""
    at_most: bool = False
    """The exponent is a bound (n log n), not a fit."""


class LayerCost(NamedTuple):
    """What one layer's attention costs by formula, at batch size 1, with projections; a mean where layers differ."""

    flops: float
    """Of the matrix products of one forward, 2 for each multiply-add; products under a mask count in full."""
    saved_bytes: float
    """Kept for backward in training, in float32."""


@dataclass(frozen=True)
class Variant:
    """A catalogue entry: everything that core knows of an attention variant.

    `caveats` maps a contract check's name (`attention_arena.testing.VARIANT_CHECKS`) to the reason why it cannot hold;
    it becomes a strict expected failure in tests and a footnote in reports. `check_options` are small settings, suited
    to sequences of about 10 tokens, under which the contract suite builds the variant.
    """

    name: str
    summary: str
    paper: str
    supports: frozenset[Capability]
    options: type[Options]
    build: Callable[[Any, ModelShape], Backbone]
    """(options, shape) -> backbone; raises ValueError when the two do not fit."""
    positions: Literal["absolute", "relative"] = "absolute"
    """`relative`: the variant brings its own, so the model adds none to the embedding."""
    complexity: Complexity | None = None
    """Under the default options."""
    complexity_under: Callable[[Any], Complexity] | None = None
    """(options) -> the complexity under them, where options change it."""
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    """Why the variant does without a capability, where that lies in its idea; told when a task needs it."""
    reference: bool = False
    """A line to compare costs with, and no model: its scores mean nothing."""
    caveats: Mapping[str, str] = field(default_factory=dict)
    check_options: tuple[Mapping[str, Any], ...] = ({},)
    adapt_shape: Callable[[Any, ModelShape], ModelShape] | None = None
    """(options, shape) -> the shape that this variant really uses (Reformer: reversible); shown as a departure."""
    cost: Callable[[Any, ModelShape, int], LayerCost] | None = None
    """(options, shape, length) -> what one layer costs by formula; the contract suite compares it with counts."""
    paper_flops: Callable[[Any, ModelShape, int], float] | None = None
    """(options, shape, length) -> FLOPs of one layer's forward by the paper's count: projections, and once each pair of
    query and key that counts. The contract suite allows twice as many."""
    initialise: Callable[[Any, nn.Module], None] | None = None
    """(options, model) -> None: sets initial weights outside the backbone (`model.embedding`, `model.head`), where the
    paper prescribes them."""

    def claim(self, options: Options) -> Complexity | None:
        """Return the claimed complexity under `options`."""
        return self.complexity if self.complexity_under is None else self.complexity_under(options)
