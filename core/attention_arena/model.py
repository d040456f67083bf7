"""The one model of a study: embedding, the variant's backbone, the task's head."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_arena.layers.positions import LearnedPositions, NoPositions, SinusoidalPositions
from attention_arena.task import Batch, Objective, TaskData
from attention_arena.variant import Backbone, Context, ModelSettings, ModelShape, Options, State, Variant

POSITIONS: dict[str, Callable[[ModelShape], nn.Module]] = {
    "learned": lambda shape: LearnedPositions(shape.max_length, shape.d_model),
    "sinusoidal": lambda shape: SinusoidalPositions(),
    "rotary": lambda shape: NoPositions(),
    "none": lambda shape: NoPositions(),
}


class ModelOutput(NamedTuple):
    """Hidden states (B, T, D), or (B, 2, T, D) for pairs, and the backbone's detached state."""

    hidden: Tensor
    state: State | None


class StepState(NamedTuple):
    """State of step-by-step decoding: tokens so far and the backbone's own state."""

    length: int
    backbone: State | None


class SequenceModel(nn.Module):
    """Token embedding with positions, backbone, and the head that the objective reads.

    With `pooling: cls` and an objective that pools, a learned token is put in front of every sequence; it is valid and
    a landmark, so hidden states are one position longer than tokens. `shape.max_length` counts it.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: ModelShape,
        vocab_size: int,
        objective: Objective,
        *,
        add_positions: bool = True,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.embedding = objective.build_embedding(shape, vocab_size)
        self.positions: nn.Module = POSITIONS[shape.positions](shape) if add_positions else NoPositions()
        self.first = nn.Parameter(torch.zeros(shape.d_model)) if has_cls(shape, objective) else None
        self.dropout = nn.Dropout(shape.dropout)
        self.backbone = backbone
        self.head = objective.build_head(shape, self.embedding)

    def forward(self, batch: Batch, state: State | None = None) -> ModelOutput:
        """Encode a batch; `state` is what the batch before returned, for rows that continue it (`batch.resumes`)."""
        if batch.tokens.dim() == 3:
            return self._encode_pairs(batch)
        x, valid, landmarks = self.embedding(batch.tokens), batch.valid, batch.landmarks
        if self.first is not None:
            B = len(x)
            x = torch.cat([self.first.to(x.dtype).expand(B, 1, -1), x], dim=1)  # (B, 1 + T, D)
            always = torch.ones(B, 1, dtype=torch.bool, device=x.device)
            valid = None if valid is None else torch.cat([always, valid], dim=1)
            rest = torch.zeros_like(batch.tokens, dtype=torch.bool) if landmarks is None else landmarks
            landmarks = torch.cat([always, rest], dim=1)
        x = self.dropout(self.positions(x))
        carried = state if batch.resumes is not None else None
        output = self.backbone(x, Context(valid, landmarks, carried, batch.resumes if carried is not None else None))
        return ModelOutput(output.hidden, output.state)

    def step(self, tokens: Tensor, state: StepState | None = None) -> tuple[Tensor, StepState]:
        """Encode the next tokens (B, 1); return hidden states (B, 1, D) and the state for the step after."""
        before = state or StepState(0, None)
        x = self.dropout(self.positions(self.embedding(tokens), before.length))
        output = self.backbone.step(x, Context(state=before.backbone))
        return output.hidden, StepState(before.length + 1, output.state)

    def _encode_pairs(self, batch: Batch) -> ModelOutput:
        """Encode both sequences of each pair (B, 2, T) by the same weights."""
        flat = Batch(
            batch.tokens.flatten(0, 1),
            batch.targets,
            None if batch.valid is None else batch.valid.flatten(0, 1),
            landmarks=None if batch.landmarks is None else batch.landmarks.flatten(0, 1),
        )
        hidden = self(flat).hidden
        return ModelOutput(hidden.unflatten(0, (-1, 2)), None)


def has_cls(settings: ModelSettings, objective: Objective) -> bool:
    """Whether the model puts a CLS token in front of each sequence."""
    return objective.pools and settings.pooling == "cls"


def model_shape(settings: ModelSettings, data_length: int, objective: Objective) -> ModelShape:
    """Return the backbone's shape for sequences of up to `data_length` tokens."""
    return ModelShape(
        **settings.model_dump(), max_length=data_length + has_cls(settings, objective), causal=objective.causal
    )


def build_model(
    variant: Variant, options: Options, settings: ModelSettings, data: TaskData, length: int | None = None
) -> SequenceModel:
    """Build a variant's model for a task's data, for sequences of up to `length` tokens (default: the data's own).

    Raises ValueError when the options do not fit the shape.
    """
    shape = model_shape(settings, length or data.max_length, data.objective)
    backbone = variant.build(options, shape)
    model = SequenceModel(
        backbone, shape, data.vocab_size, data.objective, add_positions=variant.positions == "absolute"
    )
    if variant.initialise is not None:
        variant.initialise(options, model)
    return model
