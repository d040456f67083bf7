from __future__ import annotations

from pathlib import Path

import pytest

from attention_arena.catalogue import Catalogue, load_catalogue
from attention_arena.study import FULL, load_study, shipped_studies
from attention_arena.study.yaml_lines import read_yaml


@pytest.fixture(scope="module")
def installed() -> Catalogue:
    return load_catalogue()


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_plans_under_every_profile(name: str, installed: Catalogue) -> None:
    path = shipped_studies()[name]
    profiles = dict(read_yaml(path.read_text(), path).mapping("profiles").items())
    for profile in (FULL, *profiles):
        assert load_study(path, profile, installed).runs


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_is_named_as_its_file(name: str, installed: Catalogue) -> None:
    assert load_study(shipped_studies()[name], None, installed).study.name == Path(name).name


def test_the_smoke_study_has_every_variant_and_task_of_ours(installed: Catalogue) -> None:
    plan = load_study(shipped_studies()["smoke"], None, installed)
    ours = {name for (_, name), plugin in installed.origins.items() if plugin.distribution == "attention-arena"}
    assert {run.variant.name for run in plan.runs} == ours & set(installed.variants)
    assert {run.task.name for run in plan.runs} == ours & set(installed.tasks)
