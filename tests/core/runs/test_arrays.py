"""A run's arrays come back as they were saved, and one attempt's do not mix with another's."""

from pathlib import Path

import numpy
import pytest

from attention_arena.runs.arrays import ARRAYS_FILE, Arrays, load_arrays


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    arrays = Arrays(tmp_path)
    arrays.save("maps.1", numpy.arange(6.0).reshape(2, 3)[:, ::2])
    arrays.save("extent", numpy.array([0, 7]))
    found = load_arrays(tmp_path)
    assert {name: array.tolist() for name, array in found.items()} == {"maps.1": [[0, 2], [3, 5]], "extent": [0, 7]}


def test_a_run_that_saved_nothing_has_none(tmp_path: Path) -> None:
    Arrays(tmp_path)
    assert load_arrays(tmp_path) == {}
    assert not (tmp_path / ARRAYS_FILE).exists()


def test_another_attempt_starts_anew(tmp_path: Path) -> None:
    Arrays(tmp_path).save("old", numpy.ones(2))
    Arrays(tmp_path).save("new", numpy.ones(3))
    assert list(load_arrays(tmp_path)) == ["new"]


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    arrays = Arrays(tmp_path)
    arrays.save("map", numpy.ones(2))
    with pytest.raises(ValueError, match="'map' is saved already"):
        arrays.save("map", numpy.ones(2))


def test_objects_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        Arrays(tmp_path).save("map", numpy.array([object()]))
