"""Building blocks of the shared model, for variants: attention on two rungs, the stack, positions."""

from attention_arena.layers.attention import Attention, AttentionOutput, HeadAttention
from attention_arena.layers.autograd import first_order, without_autocast
from attention_arena.layers.feed_forward import FeedForward
from attention_arena.layers.inputs import require_input
from attention_arena.layers.positions import rotate, sinusoids
from attention_arena.layers.stack import Stack
from attention_arena.layers.union import (
    Blocks,
    Everything,
    Gathered,
    Part,
    Residues,
    Windows,
    attend_projected,
    attend_union,
)
from attention_arena.layers.weights import NoWeightsError, weights_of

__all__ = [
    "Attention",
    "AttentionOutput",
    "Blocks",
    "Everything",
    "FeedForward",
    "Gathered",
    "HeadAttention",
    "NoWeightsError",
    "Part",
    "Residues",
    "Stack",
    "Windows",
    "attend_projected",
    "attend_union",
    "first_order",
    "require_input",
    "rotate",
    "sinusoids",
    "weights_of",
    "without_autocast",
]
