"""Hold a part of the file against a pydantic model, and say in words what does not fit.

Values are compared as JSON, strictly: `"100"` is no number and `true` is no count. What was expected is read from the
model's own JSON schema, so that it is right for the options of any plugin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import ErrorDetails

from attention_arena.spelling import unknown_name
from attention_arena.study.problems import Problem
from attention_arena.study.yaml_lines import Found

Model = TypeVar("Model", bound=BaseModel)
Schema = Mapping[str, Any]
NOUNS = {
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "array": ("a list", "lists"),
    "object": ("a mapping", "mappings"),
    "null": ("null", "null"),
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Problems:
    """Problems and warnings met so far, each once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, at: Found, message: str) -> None:
        """Note that `at` must be mended."""
        self._append(self.errors, at, message)

    def warn(self, at: Found, message: str) -> None:
        """Note that `at` is probably not what was meant."""
        self._append(self.warnings, at, message)

    def _append(self, to: list[Problem], at: Found, message: str) -> None:
        problem = Problem(self.file, at.line, at.path, message)
        if problem not in to:
            to.append(problem)


def validate(
    model: type[Model], found: Found, problems: Problems, what: str = "key", fields_only: bool = False
) -> Model | None:
    """Return the model that `found` describes, or None with its problems noted.

    `what` names the keys in messages. `fields_only` leaves out what only the whole can violate, for a part that others
    are merged over before it must hold.
    """
    values = found.plain()
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        mistakes = [each for each in error.errors() if _is_of_input(each, values)]
    if not mistakes:
        # Only defaults failed, which need not read as JSON. What the file gives has passed the strict reading already.
        try:
            return model.model_validate(values)
        except ValidationError as error:
            mistakes = error.errors()
    schema = json_schema(model)
    for mistake in mistakes:
        if not (fields_only and "error" in mistake.get("ctx", {}) and not mistake["loc"]):
            _report(mistake, found, schema, problems, what)
    return None


def json_schema(model: type[BaseModel]) -> Schema:
    """Return the model's JSON schema, or an empty one where a field has none."""
    try:
        return model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {}


def _is_of_input(mistake: ErrorDetails, values: Any) -> bool:
    loc = mistake["loc"]
    return not loc or mistake["type"] == "missing" or (isinstance(values, dict) and loc[0] in values)


def _report(mistake: ErrorDetails, found: Found, schema: Schema, problems: Problems, what: str) -> None:
    trail = _locate(found, mistake["loc"])
    at = trail[-1]
    walked = mistake["loc"][: len(trail) - 1]
    if mistake["type"] == "missing":
        problems.add(at, f"{mistake['loc'][-1]} is missing")
    elif mistake["type"] == "extra_forbidden":
        known = _walk(schema, walked[:-1]).get("properties", {})
        problems.add(at, unknown_name(what, str(mistake["loc"][-1]), known))
    elif "error" in mistake.get("ctx", {}):
        reason = str(mistake["ctx"]["error"])
        culprit = at.child(reason.split(" ", 1)[0])
        problems.add(at if culprit is None else culprit, reason)
    else:
        problems.add(at, f"expected {_words(schema, walked, mistake)}, got {shown(at.plain())}")


def _locate(found: Found, loc: Sequence[int | str]) -> list[Found]:
    """Return the values along `loc`, as far as it names values; pydantic also puts the members of unions there."""
    trail = [found]
    for piece in loc:
        value = trail[-1].value
        if isinstance(value, dict) and piece in value:
            trail.append(value[str(piece)])
        elif isinstance(value, list) and isinstance(piece, int) and piece < len(value):
            trail.append(value[piece])
        else:
            break
    return trail


def _walk(schema: Schema, loc: Sequence[int | str]) -> Schema:
    """Return the schema of the value at `loc`; an empty one where it cannot be told."""
    here = _resolve(schema, schema)
    for piece in loc:
        if isinstance(piece, int):
            here = here.get("items", {})
        else:
            extra = here.get("additionalProperties")
            here = here.get("properties", {}).get(piece) or (extra if isinstance(extra, dict) else {})
        here = _resolve(schema, here)
    return here


def _resolve(schema: Schema, here: Schema) -> Schema:
    while "$ref" in here:
        here = schema["$defs"][here["$ref"].rsplit("/", 1)[-1]]
    return here


def _words(schema: Schema, loc: Sequence[int | str], mistake: ErrorDetails) -> str:
    here = _walk(schema, loc)
    return describe_schema(schema, here) if here else str(mistake["msg"]).removeprefix("Input should be ")


def describe_schema(schema: Schema, here: Schema, plural: bool = False) -> str:
    """Return what a value must be, in words: `an integer ≥ 1`."""
    here = _resolve(schema, here)
    if "anyOf" in here or "oneOf" in here:
        members = [describe_schema(schema, each, plural) for each in here.get("anyOf") or here["oneOf"]]
        return " or ".join(dict.fromkeys(members))
    if "const" in here:
        return shown(here["const"])
    if "enum" in here:
        return f"one of {', '.join(str(each) for each in here['enum'])}"
    kind = here.get("type")
    if not isinstance(kind, str) or kind not in NOUNS:
        return "values" if plural else "a value"
    words = NOUNS[kind][plural]
    if kind == "array":
        least = f"at least {here['minItems']} " if here.get("minItems") else ""
        return f"{words} of {least}{describe_schema(schema, here.get('items', {}), plural=True)}"
    bounds = [f"{sign} {shown(here[key])}" for key, sign in BOUNDS.items() if key in here]
    if kind == "string":
        bounds += [f"of at least {here['minLength']} character"] if here.get("minLength") else []
        bounds += [f"that matches {here['pattern']}"] if "pattern" in here else []
    return " ".join([words, " and ".join(bounds)]) if bounds else words


def shown(value: Any) -> str:
    """Return a value as messages show it: short, and as YAML has it."""
    if isinstance(value, str):
        text = repr(value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
