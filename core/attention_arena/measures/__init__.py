"""The built-in measures: what a model costs, what it is worth as a language model, and what its attention does."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.measure import Measure
from attention_arena.measures.compute.flops import FLOPS, count_flops
from attention_arena.measures.compute.parameters import PARAMETERS, count_parameters
from attention_arena.measures.diagnostics.attention_off import ATTENTION_OFF
from attention_arena.measures.diagnostics.maps import MAPS
from attention_arena.measures.diagnostics.receptive_field import RECEPTIVE_FIELD
from attention_arena.measures.diagnostics.span import SPAN
from attention_arena.measures.diagnostics.sparsity import SPARSITY
from attention_arena.measures.diagnostics.spectrum import SPECTRUM
from attention_arena.measures.memory.capacity import CAPACITY
from attention_arena.measures.memory.counting import peak_memory, saved_for_backward
from attention_arena.measures.memory.footprint import MEMORY
from attention_arena.measures.perplexity import EFFECTIVE_CONTEXT, LOSS_BY_POSITION, PERPLEXITY
from attention_arena.measures.timing.decoding import DECODING
from attention_arena.measures.timing.speed import SPEED

__all__ = [
    "CAPACITY",
    "DECODING",
    "FLOPS",
    "MEMORY",
    "PARAMETERS",
    "SPEED",
    "count_flops",
    "count_parameters",
    "peak_memory",
    "register_measures",
    "saved_for_backward",
]


@hookimpl
def register_measures() -> Sequence[Measure]:
    """Register the measures."""
    cost = [SPEED, DECODING, MEMORY, CAPACITY, FLOPS, PARAMETERS]
    language_models = [PERPLEXITY, LOSS_BY_POSITION, EFFECTIVE_CONTEXT]
    diagnostics = [MAPS, SPARSITY, SPAN, SPECTRUM, RECEPTIVE_FIELD, ATTENTION_OFF]
    return cost + language_models + diagnostics
