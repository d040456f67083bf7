"""The reader of CIFAR-10's Python layout: what it reads, against Python's own, and what it refuses."""

import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from attention_arena_tasks.image import pickles

NAMED = b"cnumpy.core.multiarray\n_reconstruct\n"


def python2_pickle(labels: list[int], data: npt.NDArray[np.uint8], names: list[str] | None = None) -> bytes:
    """Write a batch opcode by opcode as Python 2's cPickle did."""
    kept = 0

    def keep() -> bytes:
        nonlocal kept
        kept += 1
        return b"q" + bytes([kept]) if kept < 256 else b"r" + struct.pack("<I", kept)

    def string(text: bytes) -> bytes:
        size = b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + struct.pack("<i", len(text))
        return size + text + keep()

    def integer(value: int) -> bytes:
        if 0 <= value < 2**8:
            return b"K" + bytes([value])
        return b"M" + struct.pack("<H", value) if 0 <= value < 2**16 else b"J" + struct.pack("<i", value)

    def many(items: list[bytes]) -> bytes:
        chunks = [items[start : start + 1000] for start in range(0, len(items), 1000)]
        return b"".join(b"(" + b"".join(chunk) + b"e" if len(chunk) > 1 else chunk[0] + b"a" for chunk in chunks)

    array = (
        NAMED + keep() + b"cnumpy\nndarray\n" + keep() + b"K\x00\x85" + b"U\x01b\x87R" + keep()
        + b"(K\x01" + integer(data.shape[0]) + integer(data.shape[1]) + b"\x86"
        + b"cnumpy\ndtype\n" + keep() + string(b"u1")[:4] + b"K\x00K\x01\x87R" + keep()
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + string(data.tobytes())[:-2] + b"tb"
    )  # fmt: skip
    names = names or [f"thing_s_{i:06}.png" for i in range(len(labels))]
    return (
        b"\x80\x02}" + keep() + b"("
        + string(b"batch_label") + string(b"training batch 1 of 5")
        + string(b"labels") + b"]" + keep() + many([integer(label) for label in labels])
        + string(b"data") + array
        + string(b"filenames") + b"]" + keep() + many([string(name.encode()) for name in names])
        + b"u."
    )  # fmt: skip


def batch(n: int, seed: int = 0) -> tuple[list[int], npt.NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 10, n).tolist(), random.integers(0, 256, (n, 3072), dtype=np.uint8)


@pytest.mark.parametrize("n", [1, 2, 300, 1001])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_reads_what_python_reads(n: int) -> None:
    content = python2_pickle(*batch(n))
    ours, theirs = pickles.read(content), pickle.loads(content, encoding="bytes")
    assert list(ours) == list(theirs) == [b"batch_label", b"labels", b"data", b"filenames"]
    assert ours[b"labels"] == theirs[b"labels"]
    assert ours[b"filenames"] == theirs[b"filenames"]
    assert ours[b"data"].dtype == theirs[b"data"].dtype == np.uint8
    assert np.array_equal(ours[b"data"], theirs[b"data"])


class Hostile:
    """Unpickling it makes the folder `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"labels": Hostile(tmp_path / "made")}, protocol)
    with pytest.raises(ValueError, match=r"byte \d+: (it names (posix|nt)\.mkdir|opcode \w+ is not one)"):
        pickles.read(content)
    assert not (tmp_path / "made").exists()
    pickle.loads(content)
    assert (tmp_path / "made").exists()  # so that it would have done something


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x80\x02cos\nsystem\nU\x04true\x85R.", r"byte 2: it names os\.system, which could run when unpickled"),
        (b"\x80\x02cbuiltins\neval\n.", r"names builtins\.eval"),
        (b"\x80\x02cnumpy\nload\n.", r"names numpy\.load"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n.", r"names numpy\.core\.multiarray\.scalar"),
        (b"\x80\x02(S'true'\nios\nsystem\n.", "opcode STRING is not one that these files use"),
        (b"\x80\x02(ios\nsystem\n.", "opcode INST is not one"),
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93.", "opcode SHORT_BINUNICODE is not one"),
        (b"\x80\x02U\x01a\x93.", "opcode STACK_GLOBAL is not one"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "opcode EMPTY_TUPLE is not one"),
        (b"\x80\x02P1\n.", "opcode PERSID is not one"),
        (b"\x80\x02\x82\x01.", "opcode EXT1 is not one"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", r"it calls numpy\.ndarray with a tuple"),
        (b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.", r"it calls numpy\.dtype with a tuple"),
        (b"\x80\x02K\x07K\x05\x85R.", "it calls 7 with a tuple"),
        (b"\x80\x02}K\x01b.", "it sets the state of a dict"),
        (b"\x80\x02" + NAMED + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R.", "an array has no content"),
        (b"\x80\x02}K\x01K\x02s.", "expected a bytes, got 1"),
        (b"\x80\x02K\x01K\x02a.", "expected a list, got 1"),
        (b"\x80\x02K\x01\x86.", "asks for more values than there are"),
        (b"\x80\x02(\x85.", "asks for more values than there are"),
        (b"\x80\x02t.", r"no sound pickle \(StopIteration\)"),
        (b"\x80\x02h\x07.", r"no sound pickle \(KeyError\)"),
        (b"\x80\x02.", "byte 2"),
        (b"\x80\x02K\x01K\x02.", "byte 6"),
        (b"\x80\x02T\xff\xff\xff\x7fabc", "expected 2147483647 bytes"),
        (b"\x80\x02}", "exhausted before"),
        (b"", "exhausted before|no end"),
        (b"\xff\xfe", "unknown"),
    ],
)
def test_what_no_batch_holds_is_refused_by_name_and_place(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        pickles.read(content)
    assert raised.match(r"^byte \d+: ")


def test_a_value_that_contains_itself_over_and_over_costs_nothing() -> None:
    doubled = b"\x80\x02K\x01q\x00\x85q\x01" + b"h\x01h\x01\x86q\x01" * 2000
    began = time.perf_counter()
    for ending in (b"K\x05\x85R.", b"K\x05b.", b"}q\x02h\x01K\x01s."):
        with pytest.raises(ValueError, match="byte"):
            pickles.read(doubled + ending)
    assert time.perf_counter() - began < 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_damage_anywhere_is_an_error_or_another_value_but_nothing_else() -> None:
    random = np.random.default_rng(0)
    content = bytearray(python2_pickle(*batch(2)))
    skeleton = [i for i in range(len(content)) if not 300 < i < len(content) - 200]
    refused = []
    for _ in range(2000):
        damaged = bytearray(content)
        for place in random.choice(skeleton, random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            pickles.read(bytes(damaged))
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 500
    assert all(message.startswith("byte ") for message in refused)


def test_every_truncation_is_an_error() -> None:
    content = python2_pickle(*batch(1))
    for stop in [*range(300), *range(len(content) - 200, len(content))]:
        with pytest.raises(ValueError, match="byte"):
            pickles.read(content[:stop])
