from __future__ import annotations

import re
from pathlib import Path

import pytest

from attention_arena.study import study_json_schema
from attention_arena.study.schema import TrainingSettings
from attention_arena.study.yaml_lines import read_yaml
from attention_arena.variant import ModelSettings, Options

README = Path(__file__).parents[3] / "studies" / "README.md"


@pytest.mark.parametrize("name", ["ModelSettings", "TrainingSettings", "TaskEntry", "VariantEntry", "Limits", None])
def test_every_key_is_in_the_reference(name: str | None) -> None:
    schema = study_json_schema()
    properties = (schema if name is None else schema["$defs"][name])["properties"]
    rows = set(re.findall(r"^\| `([^`]+)` \|", README.read_text(), flags=re.MULTILINE))
    assert set(properties) <= rows


@pytest.mark.parametrize("model", [ModelSettings, TrainingSettings])
def test_the_references_defaults_are_true(model: type[Options]) -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|", README.read_text(), flags=re.MULTILINE))
    documented = {key: read_yaml(f"v: {rows[key]}", README).plain()["v"] for key in model.model_fields}
    assert documented == model().model_dump()


def test_every_example_reads_as_yaml() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        assert read_yaml(example, README).value
