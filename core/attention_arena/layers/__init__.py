"""Building blocks of the shared model, for variants: attention on two rungs, the stack, positions."""

from attention_arena.layers.attention import Attention, AttentionOutput, HeadAttention
from attention_arena.layers.autograd import first_order, untracked, without_autocast
from attention_arena.layers.feed_forward import FeedForward
from attention_arena.layers.fused_attention import attend_fused
from attention_arena.layers.half_precision import (
    has_fast_products,
    kept_of,
    kept_type,
    lower,
    sections,
    slow_half,
    widened,
)
from attention_arena.layers.inputs import require_input, require_step
from attention_arena.layers.layouts import Blocks, Everything, Gathered, Layout, Residues, Tiling, Windows
from attention_arena.layers.linear import Linear, linear, linear_by_channel
from attention_arena.layers.masks import add_where, hidden_score
from attention_arena.layers.positions import rotate, sinusoids
from attention_arena.layers.scratch import Scratch, processor_of
from attention_arena.layers.stack import Stack
from attention_arena.layers.union import Part, attend_projected, attend_union
from attention_arena.layers.weights import NoWeightsError, weights_of

__all__ = [
    "Attention",
    "AttentionOutput",
    "Blocks",
    "Everything",
    "FeedForward",
    "Gathered",
    "HeadAttention",
    "Layout",
    "Linear",
    "NoWeightsError",
    "Part",
    "Residues",
    "Scratch",
    "Stack",
    "Tiling",
    "Windows",
    "add_where",
    "attend_fused",
    "attend_projected",
    "attend_union",
    "first_order",
    "has_fast_products",
    "hidden_score",
    "kept_of",
    "kept_type",
    "linear",
    "linear_by_channel",
    "lower",
    "processor_of",
    "require_input",
    "require_step",
    "rotate",
    "sections",
    "sinusoids",
    "slow_half",
    "untracked",
    "weights_of",
    "widened",
    "without_autocast",
]
