"""The Python face of variants: the attention of one layer, by name, for people who want the layer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from torch import Tensor, nn

from attention_arena.catalogue import load_catalogue
from attention_arena.layers import Stack
from attention_arena.layers.block import Block
from attention_arena.study.validation import Problems, validate
from attention_arena.study.yaml_lines import Found
from attention_arena.variant import Backbone, Context, ModelShape, State

Model = TypeVar("Model", bound=BaseModel)


class AttentionLayer(nn.Module):
    """One layer's attention as a module from (B, T, D) to (B, T, D), without norm, residual or feed-forward.

    Positions that the variant adds to its input are added here too.
    """

    def __init__(self, stack: Stack, layer: int) -> None:
        super().__init__()
        block = stack.blocks[layer]
        assert isinstance(block, Block)
        block.feed_forward = block.feed_forward_norm = block.attention_norm = nn.Identity()  # type: ignore[assignment]
        stack.blocks, stack.final_norm = nn.ModuleList([block]), nn.Identity()
        stack.residual = _attend_alone
        self.stack = stack

    @property
    def attention(self) -> nn.Module:
        """The variant's own module."""
        return self.stack.blocks[0].attention  # type: ignore[return-value]

    def forward(self, x: Tensor, *, valid: Tensor | None = None, landmarks: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D); `valid` and `landmarks` (B, T) are True at real and at singled-out tokens.

        Raises ValueError where shapes, types or devices do not fit.
        """
        return self.stack(x, Context(valid, landmarks)).hidden  # type: ignore[no-any-return]


class BackboneLayer(nn.Module):
    """A variant that is not a stack of attentions, as a layer from (B, T, D) to (B, T, D)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor, *, valid: Tensor | None = None, landmarks: Tensor | None = None) -> Tensor:
        """Encode `x` (B, T, D); `valid` and `landmarks` (B, T) are True at real and at singled-out tokens."""
        return self.backbone(x, Context(valid, landmarks)).hidden  # type: ignore[no-any-return]


def build_attention(
    name: str,
    *,
    d_model: int,
    n_heads: int,
    max_length: int,
    causal: bool = False,
    layer: int = 0,
    n_layers: int | None = None,
    **options: Any,
) -> nn.Module:
    """Return the attention of a variant by name, as a module from (B, T, D) to (B, T, D) that takes `valid=` and
    `landmarks=`.

    `options` are the variant's own (`arena list variants --options`); those about the block around the attention
    (recomputation, reversibility, feed-forward) change nothing here. `layer`, counted from 0, is for variants whose
    layers differ: the Sparse Transformer's patterns alternate, and options may be lists of one entry for each of
    `n_layers` (None: as many as there are up to `layer`). Raises ConfigError for an unknown variant and ValueError for
    options that it does not have or that do not fit.

    >>> build_attention("softmax", d_model=64, n_heads=2, max_length=128)  # doctest: +ELLIPSIS
    AttentionLayer(...)
    """
    variant = load_catalogue().variant(name)
    n_layers = layer + 1 if n_layers is None else n_layers
    if not 0 <= layer < n_layers:
        raise ValueError(f"layer counts from 0 and must be below n_layers ({n_layers}), got {layer}")
    sizes = {"d_model": d_model, "n_heads": n_heads, "n_layers": n_layers, "max_length": max_length, "causal": causal}
    shape = _held_against(ModelShape, {**sizes, "positions": "none"}, "argument")
    backbone = variant.build(_held_against(variant.options, options, f"{name} option"), shape)
    return AttentionLayer(backbone, layer) if isinstance(backbone, Stack) else BackboneLayer(backbone)


def _held_against(model: type[Model], given: Mapping[str, Any], kind: str) -> Model:
    """Return the model that `given` describes, read as strictly as a study's; raise ValueError with every problem."""
    problems = Problems(Path())
    tree = Found({key: _found(value, key) for key, value in given.items()}, 0, "")
    found = validate(model, tree, problems, kind)
    if found is None:
        messages = (f"{each.path}: {each.message}" if each.path else each.message for each in problems.errors)
        raise ValueError("; ".join(messages))
    return found


def _found(value: Any, path: str) -> Found:
    if isinstance(value, list | tuple):
        return Found([_found(each, f"{path}[{index}]") for index, each in enumerate(value)], 0, path)
    return Found(value, 0, path)


def _attend_alone(blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context]) -> tuple[Tensor, list[State | None]]:
    output = blocks[0].attention(x, contexts[0])
    return output.hidden, [output.state]
