"""The report's tables as files: one description of a table, and a renderer for each kind of file."""

from attention_arena.report.tables.chosen import report_tables
from attention_arena.report.tables.write import write_table_files

__all__ = ["report_tables", "write_table_files"]
