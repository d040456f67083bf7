"""Objectives: what a model must predict, and how that is scored."""

from attention_arena.objectives.classification import Classification
from attention_arena.objectives.language_modeling import LanguageModeling

__all__ = ["Classification", "LanguageModeling"]
