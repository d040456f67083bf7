"""Reads the pickles of CIFAR-10's Python layout without unpickling: no code of theirs, or of anyone's, is called.

A pickle is a program for a stack machine, and Python's own reader runs whatever function it names. Here the opcodes are
read one by one, and the few that Python 2 wrote into these files are carried out on plain values: dictionaries, lists,
tuples, bytes, integers and one kind of array. The three names that such an array mentions are compared, never looked
up. Any other opcode or name is an error that tells which one, and where.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LARGEST_MEMO = 2**20
"""Values that a pickle may name for later use; a batch has some 20,000."""


class Name(NamedTuple):
    """A function or class that a pickle names, as two words."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


RECONSTRUCT = Name("numpy.core.multiarray", "_reconstruct")
NDARRAY = Name("numpy", "ndarray")
DTYPE = Name("numpy", "dtype")
NAMES = frozenset({RECONSTRUCT, NDARRAY, DTYPE})


class _Mark:
    """Where a run of values begins on the stack."""


class _Unfilled:
    """An array whose content the next BUILD gives, or its type, which is bytes whatever that one says."""

    def __init__(self, of: Name) -> None:
        self.of = of
        self.array: npt.NDArray[np.uint8] | None = None


def read(content: bytes) -> Any:
    """Return the value of a pickle; ValueError says at which byte it holds what such a file never does."""
    machine = _Machine()
    position = 0
    try:
        for opcode, argument, place in pickletools.genops(content):
            position = place or 0
            if opcode.name == "STOP":
                return machine.result()
            step = STEPS.get(opcode.name)
            if step is None:
                raise ValueError(f"opcode {opcode.name} is not one that these files use")
            step(machine, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, StopIteration) as error:
        reason = str(error) if isinstance(error, ValueError) else f"no sound pickle ({type(error).__name__})"
        raise ValueError(f"byte {position:,}: {reason}") from error
    raise ValueError(f"byte {len(content):,}: the pickle has no end")


class _Machine:
    """The stack, and the values that were named for later use."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self.stack
        return _filled(value)

    def since_mark(self) -> list[Any]:
        start = next(i for i in reversed(range(len(self.stack))) if isinstance(self.stack[i], _Mark))
        values = [_filled(value) for value in self.stack[start + 1 :]]
        del self.stack[start:]
        return values

    def put(self, key: int) -> None:
        if len(self.memo) >= LARGEST_MEMO:
            raise ValueError(f"more than {LARGEST_MEMO:,} values are kept for later use")
        self.memo[key] = self.stack[-1]

    def name(self, words: str) -> None:
        name = Name(*words.split(" ", 1))
        if name not in NAMES:
            raise ValueError(f"it names {name}, which could run when unpickled; these files name {_listed()} alone")
        self.stack.append(name)

    def gather(self, n: int) -> None:
        values = tuple(self.stack[-n:])
        if len(values) < n or any(isinstance(value, _Mark) for value in values):
            raise ValueError("a tuple asks for more values than there are")
        self.stack[-n:] = [values]

    def extend(self, values: list[Any]) -> None:
        _require(self.stack[-1], list).extend(values)

    def update(self, values: list[Any]) -> None:
        keys = [_require(key, bytes) for key in values[::2]]
        _require(self.stack[-1], dict).update(zip(keys, values[1::2], strict=True))

    def last(self, n: int) -> list[Any]:
        return [_filled(self.stack.pop()) for _ in range(n)][::-1]

    def reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if called == RECONSTRUCT and arguments == (NDARRAY, (0,), b"b"):
            self.stack.append(_Unfilled(NDARRAY))
        elif called == DTYPE and arguments == (b"u1", 0, 1):
            self.stack.append(_Unfilled(DTYPE))
        else:
            raise ValueError(f"it calls {_shown(called)} with {_shown(arguments)}, which these files never do")

    def build(self) -> None:
        state, unfilled = self.stack.pop(), self.stack[-1]
        if not isinstance(unfilled, _Unfilled):
            raise ValueError(f"it sets the state of {_shown(unfilled)}, which these files never do")
        if unfilled.of == DTYPE:
            return  # byte order and alignment, which single bytes do not have
        _, shape, kind, by_column, raw = state
        is_bytes = isinstance(kind, _Unfilled) and kind.of == DTYPE and isinstance(raw, bytes)
        if not is_bytes or by_column is not False:
            raise ValueError("an array is not one of bytes, row by row")
        unfilled.array = np.frombuffer(raw, dtype=np.uint8).reshape(shape)


def _filled(value: Any) -> Any:
    """Return the value, or the array that it stands for."""
    if isinstance(value, _Unfilled) and value.of == NDARRAY:
        if value.array is None:
            raise ValueError("an array has no content")
        return value.array
    return value


def _require(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"expected a {kind.__name__}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Return a few words for a value; what contains others is not written out, since it may contain itself."""
    if isinstance(value, Name):
        return str(value)
    return repr(value)[:40] if isinstance(value, int | bytes) else f"a {type(value).__name__}"


def _listed() -> str:
    return ", ".join(sorted(str(name) for name in NAMES))


Step = Callable[[_Machine, Any], Any]

STEPS: dict[str, Step] = {
    "PROTO": lambda machine, version: None,
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "MARK": lambda machine, _: machine.stack.append(_Mark()),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "BININT": lambda machine, number: machine.stack.append(number),
    "BININT1": lambda machine, number: machine.stack.append(number),
    "BININT2": lambda machine, number: machine.stack.append(number),
    # genops hands over Python 2's strings as Latin-1, which is one character a byte.
    "BINSTRING": lambda machine, text: machine.stack.append(text.encode("latin-1")),
    "SHORT_BINSTRING": lambda machine, text: machine.stack.append(text.encode("latin-1")),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.gather(1),
    "TUPLE2": lambda machine, _: machine.gather(2),
    "TUPLE3": lambda machine, _: machine.gather(3),
    "APPEND": lambda machine, _: machine.extend(machine.last(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.update(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "GLOBAL": _Machine.name,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
"""By opcode, what is done; these are all that Python 2 wrote into a batch."""
