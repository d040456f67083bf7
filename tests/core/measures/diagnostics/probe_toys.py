"""Trained models, as diagnostics see them, whose insides are known."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.measure import Contender, Subject
from attention_arena.model import SequenceModel
from attention_arena.task import Batch, Metric, Objective, Score, Source, Split, TaskData
from attention_arena.variant import Backbone, BackboneOutput, Capability, Context, ModelSettings, ModelShape, Options
from attention_arena.variant import Variant as VariantEntry

VOCABULARY = 16
LENGTH = 12
CPU = torch.device("cpu")


class Given(Split):
    """These sequences (N, T), or pairs (N, 2, T), in this order."""

    content_hash = "00"

    def __init__(self, tokens: Tensor, valid: Tensor | None = None) -> None:
        self.whole = Batch(tokens, tokens[..., 0], valid)
        self.n_examples = len(tokens)

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        for start in range(0, self.n_examples, batch_size):
            yield self.whole.rows(start, start + batch_size)


class Height(Objective):
    """Scores the mean of a sequence's hidden states, which nobody learns."""

    requires = frozenset({Capability.BIDIRECTIONAL})
    metrics = (Metric("height", "m", True),)
    pools = True

    def __init__(self, causal: bool = False) -> None:
        self.causal = causal

    def build_head(self, shape: ModelShape, embedding: nn.Module) -> nn.Module:
        return nn.Identity()

    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        heights = hidden.flatten(1).mean(1).double()
        return Score(heights.mean(), {"height": heights.sum(), "count": torch.tensor(len(heights)).double()})

    def weight(self, batch: Batch) -> float:
        return float(len(batch.tokens))

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        return {"height": sums["height"] / sums["count"]}


class Nothing(Attention):
    """Attention that adds nothing."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(torch.zeros_like(x))


class Doubling(Attention):
    """Adds its input before the norm, and so doubles a plain stream."""

    def forward_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        return AttentionOutput(x)


class Banded(Attention):
    """The mean over real tokens at most `reach` positions away, in causal models before."""

    def __init__(self, reach: int, causal: bool = False) -> None:
        super().__init__()
        self.reach, self.causal = reach, causal

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        places = torch.arange(x.shape[1])
        away = places.unsqueeze(1) - places
        near = (away.abs() <= self.reach) & ((away >= 0) | (not self.causal))
        weights = near.to(x).expand(len(x), -1, -1)
        if context.valid is not None:
            weights = weights * context.valid.unsqueeze(1)
        return AttentionOutput(weights / weights.sum(-1, keepdim=True).clamp(min=1) @ x)


class Summing(Backbone):
    """A backbone without attention."""

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        return BackboneOutput(x.cumsum(1))


def tokens_of(*size: int, seed: int = 0) -> Tensor:
    """Return random tokens (...) from 1 on."""
    return torch.randint(1, VOCABULARY, size, generator=torch.Generator().manual_seed(seed))


def subject_over(
    test: Split,
    attention: Callable[[], Attention] = Nothing,
    *,
    causal: bool = False,
    backbone: Backbone | None = None,
    **shape: Any,
) -> Subject:
    """Return a run on `test` in batches of 4, in float64; `shape` changes the model's."""
    settings = ModelSettings(**{"d_model": 8, "n_heads": 2, "n_layers": 2, "d_ff": 16} | shape)
    goal = Height(causal)
    whole = ModelShape(**settings.model_dump(), max_length=LENGTH, causal=causal)

    def build(length: int) -> SequenceModel:
        torch.manual_seed(0)
        stack = backbone or Stack(whole, lambda layer: attention())
        return SequenceModel(stack, whole, VOCABULARY, goal).double()

    entry = VariantEntry(
        "toy", "a toy", "none", frozenset(Capability), Options, lambda options, shape: build(1).backbone
    )
    data = TaskData(VOCABULARY, LENGTH, goal, test, test, test, Source("generated", "none"))
    contender = Contender("toy", entry, Options(), settings, build)
    return Subject(contender, build(LENGTH), _no_batch, data, CPU, nullcontext, 1e-3, LENGTH, batch_size=4)


def _no_batch(batch_size: int, length: int) -> Batch:
    raise AssertionError("diagnostics look at test sequences, not at synthetic ones")


def embed_as_number(model: nn.Module) -> None:
    """Make a stack's stream the token's number in all channels, but for what attention adds."""
    with torch.no_grad():
        numbers = torch.arange(VOCABULARY, dtype=torch.float64).unsqueeze(1)
        model.get_parameter("embedding.weight").copy_(numbers.expand(-1, 8))
        model.get_parameter("positions.table").zero_()
        for block in model.get_submodule("backbone.blocks").children():
            block.get_parameter("feed_forward.narrow.weight").zero_()
    model.get_submodule("backbone").final_norm = nn.Identity()
