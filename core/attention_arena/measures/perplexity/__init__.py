"""How well a trained language model predicts text: by protocol of evaluation, by position, by length of context."""

from attention_arena.measures.perplexity.by_position import LOSS_BY_POSITION
from attention_arena.measures.perplexity.by_protocol import PERPLEXITY
from attention_arena.measures.perplexity.effective_context import EFFECTIVE_CONTEXT

__all__ = ["EFFECTIVE_CONTEXT", "LOSS_BY_POSITION", "PERPLEXITY"]
