from __future__ import annotations

from pathlib import Path

import pytest

from attention_arena.errors import ConfigError
from attention_arena.study import find_study, shipped_studies

ROOT = Path(__file__).parents[3]


def test_a_path_to_a_file_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine")
    assert find_study(path) == path
    assert find_study(str(path)) == path


def test_a_shipped_study_is_found_by_its_name() -> None:
    assert find_study("smoke").samefile(ROOT / "studies" / "smoke.yaml")


def test_studies_in_folders_are_named_with_them_and_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("one/lra.yaml", "two/lra.yaml", "two/claims/linformer.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = (tmp_path / "one", tmp_path / "two")
    assert shipped_studies(folders) == {
        "claims/linformer": tmp_path / "two/claims/linformer.yaml",
        "lra": tmp_path / "one/lra.yaml",
    }


def test_an_unknown_name_brings_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown study 'smok'; did you mean 'smoke'\? known: .*lra.*smoke"):
        find_study("smok")


def test_a_path_without_a_file_says_so() -> None:
    with pytest.raises(
        ConfigError, match=r"^there is no file nowhere/lra\.yaml; shipped studies go by their names: .*lra.*smoke"
    ):
        find_study("nowhere/lra.yaml")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name the study's YAML file"):
        find_study(tmp_path)
