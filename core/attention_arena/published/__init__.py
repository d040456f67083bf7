"""Numbers that others have published, with their source and caveat; facts of the literature, and never results of ours.

One file a source in `sources/`, laid out as the source's own tables, so that it can be checked against them by eye.
Averages are left out: sources define them differently.
"""

from attention_arena.published.load import SCHEMA, SHIPPED, load_published, read_source
from attention_arena.published.schema import METRICS, SourceFile

__all__ = ["METRICS", "SCHEMA", "SHIPPED", "SourceFile", "load_published", "read_source"]
