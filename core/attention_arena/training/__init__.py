"""The training loop: one model, one task, one recipe for all variants."""

from attention_arena.training.loop import Outcome, train
from attention_arena.training.precision import autocast_for

__all__ = ["Outcome", "autocast_for", "train"]
