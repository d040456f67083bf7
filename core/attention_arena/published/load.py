"""Read the files of published numbers into one frame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from attention_arena.errors import ConfigError
from attention_arena.published.schema import METRICS, SourceFile, Table

if TYPE_CHECKING:
    import polars as pl

SHIPPED = Path(__file__).parent / "sources"
SCHEMA: Mapping[str, str] = {
    "source": "short name of the source",
    "named": "the model as the source names it",
    "note": "what tells it from its namesakes there, or null",
    "variant": "our variant of the same idea, or null",
    "task": "our task that poses the same problem, on official data",
    "options": "JSON: options under which it does",
    "metric": "what was measured",
    "unit": "unit of value",
    "higher_is_better": "direction of the metric",
    "length": "tokens in a sequence, of a cost; null for a score",
    "value": "the number",
    "where": "where in the source it stands",
    "caveat": "why it is not to be read as if it had been measured here",
    "citation": "the source at length",
    "licence": "licence of the source, as far as it states one",
}


def load_published(folder: Path = SHIPPED) -> pl.DataFrame:
    """Return all published numbers in `folder`, one row each, with the columns of `SCHEMA`.

    Raises ConfigError, which names file and row, where a file is not as `SourceFile` says, or has a number twice.
    """
    import polars as pl

    types = dict.fromkeys(SCHEMA, pl.String) | {
        "higher_is_better": pl.Boolean,
        "length": pl.Int64,
        "value": pl.Float64,
    }
    rows = [row for path in sorted(folder.glob("*.yaml")) for row in _rows(read_source(path))]
    return pl.DataFrame(rows, types)


def read_source(path: Path) -> SourceFile:
    """Return one file's content. Raises ConfigError."""
    from attention_arena.study.yaml_lines import read_yaml

    plain = read_yaml(path.read_text(encoding="utf-8"), path).plain()
    try:
        source = SourceFile.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{path}: {_place(first['loc'], plain)}: {first['msg']}") from error
    _require_whole_rows_once(source, path)
    return source


def _place(loc: tuple[str | int, ...], plain: Any) -> str:
    """Return where a mistake is: `tables[0].rows[3] (Linformer).values[1]`."""
    words = ""
    for part in loc:
        plain = _inside(plain, part)
        words += f"[{part}]" if isinstance(part, int) else f".{part}"
        if isinstance(plain, dict) and isinstance(plain.get("named"), str):
            words += f" ({plain['named']})"
    return words.removeprefix(".") or "the file"


def _inside(plain: Any, part: str | int) -> Any:
    if isinstance(plain, dict):
        return plain.get(part)
    return plain[part] if isinstance(plain, list) and isinstance(part, int) else None


def _require_whole_rows_once(source: SourceFile, path: Path) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for t, table in enumerate(source.tables):
        for r, row in enumerate(table.rows):
            place = f"tables[{t}].rows[{r}] ({row.name})"
            if len(row.values) != len(table.columns):
                raise ConfigError(f"{path}: {place}: expected {len(table.columns)} values, got {len(row.values)}")
            for column, value in zip(table.columns, row.values, strict=True):
                key = (row.name, column.model_dump_json())
                if value is not None and key in seen:
                    raise ConfigError(f"{path}: {place}: {column.task}, {column.metric} stands in {seen[key]} already")
                if value is not None:
                    seen[key] = place


def _rows(source: SourceFile) -> Iterator[dict[str, Any]]:
    for table in source.tables:
        for row in table.rows:
            for column, value in zip(table.columns, row.values, strict=True):
                if value is not None:
                    yield {
                        "source": source.source,
                        "named": row.named,
                        "note": row.note,
                        "variant": row.variant,
                        "task": column.task,
                        "options": json.dumps(column.options, sort_keys=True),
                        "metric": column.metric,
                        "unit": column.unit,
                        "higher_is_better": METRICS[column.metric].higher_is_better,
                        "length": column.length,
                        "value": value,
                        "where": table.where,
                        "caveat": _caveat(source, table),
                        "citation": source.citation,
                        "licence": source.licence,
                    }


def _caveat(source: SourceFile, table: Table) -> str:
    return f"{source.caveat} {table.caveat}" if table.caveat else source.caveat
