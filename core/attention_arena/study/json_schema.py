"""The study file's JSON schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from attention_arena.study.expand import BLOCKS
from attention_arena.study.merge import FIXED
from attention_arena.study.schema import Study

BY_NAME = {"tasks": "TaskEntry", "variants": "VariantEntry"}


def study_json_schema() -> dict[str, Any]:
    """Return the schema; options are left to `arena validate`, which knows the plugins that are installed."""
    schema = Study.model_json_schema()
    definitions = schema["$defs"]
    for block, model in BLOCKS.items():
        definitions[model.__name__] = model.model_json_schema()
        for owner in (schema, definitions["TaskEntry"], definitions["VariantEntry"]):
            description = owner["properties"][block]["description"]
            owner["properties"][block] = {"$ref": f"#/$defs/{model.__name__}", "description": description}
    for key, name in BY_NAME.items():
        schema["properties"][key]["items"] = {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{name}"}]}
    of_a_task = definitions["TaskEntry"]["properties"]["measure"]["anyOf"][0]
    for measures in (schema["properties"]["measure"], of_a_task):
        entry = measures["items"]["anyOf"][1]
        entry |= {"minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": ["object", "null"]}}
    definitions["Profile"] = _profile_schema(schema)
    schema["properties"]["profiles"]["additionalProperties"] = {"$ref": "#/$defs/Profile"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "attention-arena study",
    }


def _profile_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what a profile may hold: the study's keys, with changes of entries by name."""
    properties = {key: value for key, value in schema["properties"].items() if key not in FIXED}
    for key, entry in BY_NAME.items():
        change = {**schema["$defs"][entry], "required": []}
        by_name = {"type": "object", "additionalProperties": {"anyOf": [change, {"type": "null"}]}}
        properties[key] = {"anyOf": [properties[key], by_name]}
    by_name = {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
    properties["measure"] = {"anyOf": [properties["measure"], by_name]}
    return {"type": "object", "additionalProperties": False, "properties": properties}
