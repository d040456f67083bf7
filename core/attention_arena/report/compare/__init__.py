"""Studies side by side: what improved, what got worse, and what is noise."""

from attention_arena.report.compare.against import Against, compare_sides
from attention_arena.report.compare.page import write_comparison
from attention_arena.report.compare.sides import Side, read_sides
from attention_arena.report.compare.terminal import comparison_text

__all__ = ["Against", "Side", "compare_sides", "comparison_text", "read_sides", "write_comparison"]
