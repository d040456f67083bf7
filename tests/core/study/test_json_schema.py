from __future__ import annotations

import json
from pathlib import Path

from attention_arena.study import study_json_schema
from attention_arena.study.schema import Study

STUDIES = Path(__file__).parents[3] / "studies"


def test_the_published_schema_is_up_to_date() -> None:
    published = json.loads((STUDIES / "study.schema.json").read_text())
    assert published == study_json_schema(), "studies/README.md says how to write study.schema.json again"


def test_the_schema_knows_every_key_of_a_study() -> None:
    schema = study_json_schema()
    assert set(schema["properties"]) == set(Study.model_fields)
    assert schema["additionalProperties"] is False


def test_blocks_and_short_forms_are_spelt_out() -> None:
    schema = study_json_schema()
    assert schema["properties"]["model"]["$ref"] == "#/$defs/ModelSettings"
    assert "learning_rate" in schema["$defs"]["TrainingSettings"]["properties"]
    assert {"type": "string"} in schema["properties"]["variants"]["items"]["anyOf"]


def test_a_profile_may_change_entries_by_name_but_not_the_studys_name() -> None:
    profile = study_json_schema()["$defs"]["Profile"]
    assert "name" not in profile["properties"]
    by_name = profile["properties"]["tasks"]["anyOf"][1]
    assert by_name["additionalProperties"]["anyOf"][0]["required"] == []


def test_every_setting_is_described() -> None:
    definitions = study_json_schema()["$defs"]
    undescribed = [
        f"{name}.{key}"
        for name in ("ModelSettings", "TrainingSettings", "TaskEntry", "VariantEntry", "Limits")
        for key, each in definitions[name]["properties"].items()
        if "description" not in each
    ]
    assert undescribed == []
