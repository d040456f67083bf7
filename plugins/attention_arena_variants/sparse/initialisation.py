"""The paper's initial weights (Child et al. 2019, section 5.5): small, and smaller with depth where branches end.

All deviations are 0.125 / sqrt(fan-in). The last layer of each of the 2 N residual branches is scaled by 1 / sqrt(2 N),
so that the sum of the branches does not grow with N. Logits start at 0.
"""

from __future__ import annotations

from torch import nn

from attention_arena.layers import Stack
from attention_arena.layers.block import Block
from attention_arena.layers.positions import LearnedPositions
from attention_arena_variants.sparse.positions import SummedPositions

GAIN = 0.125


def initialise_stack(stack: Stack) -> None:
    """Set the weights of all layers and of the stack's own positions."""
    for module in stack.modules():
        if isinstance(module, nn.Linear):
            initialise_linear(module)
        elif isinstance(module, SummedPositions):
            for table in module.tables:
                nn.init.normal_(table, std=GAIN * (table.shape[1] * len(module.tables)) ** -0.5)
    n_branches = 2 * len(stack.blocks)
    for block in stack.blocks:
        assert isinstance(block, Block)
        for last in (block.attention.project_out, block.feed_forward.narrow):
            assert isinstance(last, nn.Linear)
            initialise_linear(last, n_branches**-0.5)


def initialise_linear(layer: nn.Linear, factor: float = 1.0) -> None:
    """Draw the weights of one layer, times `factor`; biases are 0."""
    nn.init.normal_(layer.weight, std=GAIN * factor * layer.in_features**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def initialise_ends(model: nn.Module) -> None:
    """Set what is around the backbone of `model`: embedding, learned positions and head.

    A head that shares its weights with the embedding keeps those.
    """
    embedding, head = model.embedding, model.head
    if not isinstance(embedding, nn.Embedding):
        raise ValueError(
            "initialisation: paper sets one embedding table, and this vocabulary has adaptive ones; set cutoffs: [] for"
            " the task, or initialisation: shared"
        )
    assert isinstance(head, nn.Module)
    nn.init.normal_(embedding.weight, std=GAIN * embedding.embedding_dim**-0.5)
    if isinstance(model.positions, LearnedPositions):
        table = model.positions.table
        nn.init.normal_(table, std=GAIN * table.shape[1] ** -0.5)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        initialise_linear(layer)
    for parameter in (layers[-1] if layers else head).parameters(recurse=False):
        if parameter is not embedding.weight:
            nn.init.zeros_(parameter)
