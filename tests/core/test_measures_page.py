"""The page of the measures names every measure that the project brings, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attention_arena.catalogue import load_catalogue

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "core" / "MEASURES.md"


def sections() -> dict[str, str]:
    """Return the text below each heading of a measure, by its name."""
    parts = re.split(r"^(#{2,3} .*)$", PAGE.read_text(), flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {found[1]: text for heading, text in named if (found := re.fullmatch(r"### `(\w+)`", heading))}


def own_measures() -> list[str]:
    catalogue = load_catalogue()
    names = [
        name for name in catalogue.measures if catalogue.plugin_of("measure", name).distribution == "attention-arena"
    ]
    return sorted(names)


def test_every_measure_has_a_heading_and_every_heading_is_a_measure() -> None:
    assert sorted(sections()) == own_measures()


@pytest.mark.parametrize("name", own_measures())
def test_a_measures_paragraph_says_what_is_not_obvious_from_its_name(name: str) -> None:
    words = sections()[name].split()
    assert len(words) > 40


@pytest.mark.parametrize("page", ["README.md", "core/README.md"])
def test_the_page_can_be_found(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (REPOSITORY / page).read_text())
    targets = [(REPOSITORY / page).parent.joinpath(link.partition("#")[0]).resolve() for link in links]
    assert PAGE in targets
