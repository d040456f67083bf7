"""Published numbers as a report shows them: in columns of their own, each with its source."""

from attention_arena.report.published.beside import Published, beside_published
from attention_arena.report.published.files import remove_published, write_published

__all__ = ["Published", "beside_published", "remove_published", "write_published"]
