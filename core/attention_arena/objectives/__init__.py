"""Objectives: what a model must predict, and how that is scored."""

from attention_arena.objectives.adaptive_softmax import Adaptive
from attention_arena.objectives.classification import Classification
from attention_arena.objectives.language_modeling import LanguageModeling
from attention_arena.objectives.masked_language_modeling import MaskedLanguageModeling
from attention_arena.objectives.matching import Matching

__all__ = ["Adaptive", "Classification", "LanguageModeling", "MaskedLanguageModeling", "Matching"]
