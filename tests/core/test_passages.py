import sysconfig
from pathlib import Path

import numpy as np
import pytest

from attention_arena import python_sources
from attention_arena.byte_text import N_IDS, ids_of, text_of
from attention_arena.errors import TaskError
from attention_arena.passages import Draws, deal, line_starts, passage, passages

TEXT = b"one\ntwo\n\nthree four\nfive"


class TestDraws:
    def test_a_seed_means_the_same_numbers_everywhere(self) -> None:
        draws = Draws(0, 1)
        assert [draws.below(100) for _ in range(5)] == [49, 80, 86, 78, 22]

    def test_another_seed_gives_others(self) -> None:
        first, second = ([draws.below(10**9) for _ in range(3)] for draws in (Draws(0, 1), Draws(1, 0)))
        assert first != second

    def test_all_numbers_below_the_bound_are_drawn_alike(self) -> None:
        draws = Draws(3)
        counts = np.bincount([draws.below(7) for _ in range(7000)])
        assert len(counts) == 7
        # The standard deviation of a count is 29.
        assert abs(counts - 1000).max() < 120


SIZES = {f"file{k}.py": 10 + 7 * k for k in range(60)}
SHARES = {"train": 70, "validation": 10, "test": 20}


class TestDeal:
    def test_every_name_goes_to_one_split(self) -> None:
        dealt = deal(SIZES, SHARES)
        assert sorted(name for names in dealt.values() for name in names) == sorted(SIZES)

    def test_splits_have_their_shares_of_the_bytes(self) -> None:
        total = sum(SIZES.values())
        for split, names in deal(SIZES, SHARES).items():
            share = 100 * sum(SIZES[name] for name in names) / total
            # A split can miss its share by a file, of which the largest is 3.3 % of all.
            assert share == pytest.approx(SHARES[split], abs=3.4)

    def test_the_order_of_names_does_not_matter(self) -> None:
        backwards = dict(reversed(SIZES.items()))
        assert deal(backwards, SHARES) == deal(SIZES, SHARES)


class TestPassages:
    def test_lines_begin_after_line_ends_with_enough_left(self) -> None:
        assert line_starts(TEXT, 1) == [0, 4, 8, 9, 20]
        assert line_starts(TEXT, 5) == [0, 4, 8, 9]
        assert line_starts(TEXT + b"\n", 1) == [0, 4, 8, 9, 20]
        assert line_starts(b"", 1) == []

    @pytest.mark.parametrize(
        ("start", "limit", "found"),
        [
            (0, 9, b"one\ntwo\n\n"),
            (0, 7, b"one\n"),
            (9, 10, b"three four"),
            (9, 8, b"three fo"),
            (20, 9, b"five"),
            (20, 4, b"five"),
        ],
    )
    def test_a_passage_ends_with_a_line_if_one_ends_in_its_second_half(
        self, start: int, limit: int, found: bytes
    ) -> None:
        assert passage(TEXT, start, limit) == found

    @pytest.mark.parametrize("limit", [1, 2, 5, 11, 100])
    def test_a_text_is_cut_without_a_gap(self, limit: int) -> None:
        parts = list(passages(TEXT, limit, 1))
        assert b"".join(parts) == TEXT
        assert max(map(len, parts)) <= limit

    def test_what_is_too_short_is_left_out(self) -> None:
        assert list(passages(TEXT, 10, 6)) == [b"one\ntwo\n\n", b"three four"]
        assert list(passages(b"", 10, 1)) == []


class TestByteText:
    def test_an_id_is_the_byte_plus_one(self) -> None:
        ids, offsets = ids_of([b"\x00\xff", b"", b"A"])
        assert ids.tolist() == [1, 256, 66]
        assert offsets.tolist() == [0, 2, 2, 3]
        assert ids.max() < N_IDS

    def test_ids_come_back_as_bytes(self) -> None:
        everything = bytes(range(256))
        assert text_of(ids_of([everything])[0]) == everything

    def test_no_text_is_no_ids(self) -> None:
        ids, offsets = ids_of([])
        assert (len(ids), offsets.tolist()) == (0, [0])


class TestPythonSources:
    def test_sources_of_the_library_are_read_without_its_tests(self) -> None:
        sources = python_sources.standard_library()
        root = Path(sysconfig.get_path("stdlib"))
        assert sources["json/__init__.py"] == (root / "json" / "__init__.py").read_bytes()
        assert list(sources) == sorted(sources)
        assert not [name for name in sources if set(name.split("/")) & python_sources.LEFT_OUT]

    def test_only_what_is_wanted_is_read(self) -> None:
        assert set(python_sources.standard_library(lambda name: name == "abc.py")) == {"abc.py"}

    def test_line_ends_are_those_of_unix(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.py").write_bytes(b"x\r\ny\n")
        monkeypatch.setattr(python_sources.sysconfig, "get_path", lambda name: str(tmp_path))
        assert python_sources.standard_library() == {"a.py": b"x\ny\n"}

    def test_a_python_without_sources_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(python_sources.sysconfig, "get_path", lambda name: str(tmp_path))
        with pytest.raises(TaskError, match=r"no \.py sources"):
            python_sources.standard_library()
