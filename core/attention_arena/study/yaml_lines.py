"""Read YAML into plain values that know their place in the file.

Scalars follow YAML 1.2's core schema, which is JSON's: `3e-4` is a number, `yes` and `12:30` are text. Tags that would
construct anything else are refused, as are duplicate keys, which PyYAML would let pass in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from attention_arena.study.problems import Problem, StudyError, refuse

Scalar: TypeAlias = str | int | float | bool | None
MOST_VALUES = 100_000
"""Bound on what aliases may expand to."""
TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Found:
    """A value of the file, the line of its key (or item), and its path."""

    value: Scalar | list[Found] | dict[str, Found]
    line: int
    path: str

    def plain(self) -> Any:
        """Return the value without its places."""
        if isinstance(self.value, dict):
            return {key: each.plain() for key, each in self.value.items()}
        if isinstance(self.value, list):
            return [each.plain() for each in self.value]
        return self.value

    def child(self, key: str) -> Found | None:
        """Return the value under `key`; None where there is none."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def mapping(self, key: str) -> Found:
        """Return the mapping under `key`; an empty one, placed here, where there is none."""
        child = self.child(key)
        if child is None or not isinstance(child.value, dict):
            return Found({}, self.line, join(self.path, key))
        return child

    def items(self) -> list[tuple[str, Found]]:
        """Return a mapping's items; none of anything else."""
        return list(self.value.items()) if isinstance(self.value, dict) else []

    def elements(self) -> list[Found]:
        """Return a list's items; none of anything else."""
        return self.value if isinstance(self.value, list) else []

    def mapping_list(self, key: str) -> list[Found]:
        """Return those elements of the list under `key` that are mappings."""
        child = self.child(key)
        return [each for each in child.elements() if isinstance(each.value, dict)] if child is not None else []


def join(path: str, key: str) -> str:
    """Return the path of `key` under `path`."""
    return f"{path}.{key}" if path else key


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's idea of what a plain scalar is."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(text: str, file: Path) -> Found:
    """Return the document as a tree; raise StudyError with every problem met. `file` is for messages alone."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise refuse(file, "the file is empty; a study needs name, tasks and variants")
        return _Reader(file).read(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in reason:
            reason += "; indent with spaces"
        raise refuse(file, f"not YAML: {reason}", None if mark is None else mark.line + 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise refuse(file, "not YAML: the file has a character that YAML does not allow", line) from error
    except RecursionError as error:
        raise refuse(file, "not a study: values are nested too deeply") from error
    # PyYAML lets escapes of characters that do not exist, as in "\U00110000", fail in this way.
    except (ValueError, OverflowError) as error:
        if isinstance(error, StudyError):
            raise
        raise refuse(file, f"not YAML: {error}") from error


class _Reader:
    """Turns nodes into `Found`, collecting problems."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.n_values = 0
        self.open: list[yaml.Node] = []

    def read(self, node: yaml.Node) -> Found:
        found = self._found(node, _line(node), "")
        if self.problems:
            raise StudyError(self.problems)
        return found

    def _found(self, node: yaml.Node, line: int, path: str) -> Found:
        self.n_values += 1
        if self.n_values > MOST_VALUES:
            raise refuse(self.file, f"not a study: more than {MOST_VALUES} values once aliases are expanded", line)
        if any(node is each for each in self.open):
            self._complain(line, path, "an alias refers to a value that contains it")
            return Found(None, line, path)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
                return Found(self._mapping(node, path), line, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
                items = [self._found(each, _line(each), f"{path}[{i}]") for i, each in enumerate(node.value)]
                return Found(items, line, path)
            return Found(self._scalar(node, line, path), line, path)
        finally:
            self.open.pop()

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Found]:
        own: dict[str, Found] = {}
        merged: dict[str, Found] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == TAG + "merge":
                if merged:
                    self._complain(line, join(path, "<<"), "this key stands twice; merge several with <<: [*one, *two]")
                merged = self._merged(value_node, line, path)
                continue
            if key_node.tag != TAG + "str":
                self._complain(line, path, f"expected a name as key, got {_shown(key_node)}; put it in quotes")
                continue
            key = self._text(key_node, line, path)
            if key in own:
                self._complain(line, join(path, key), f"this key stands twice, first on line {own[key].line}")
                continue
            own[key] = self._found(value_node, line, join(path, key))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, line: int, path: str) -> dict[str, Found]:
        """Return what `<<: *alias` or `<<: [*alias, ...]` brings in; of several, the first wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Found] = {}
        for source in sources:
            found = self._found(source, line, path)
            if not isinstance(found.value, dict):
                self._complain(line, path, f"expected a mapping to merge with <<, got {_shown(source)}")
                continue
            merged = {**found.value, **merged}
        return merged

    def _scalar(self, node: yaml.Node, line: int, path: str) -> Scalar:
        read = SCALARS.get(node.tag)
        if read is None or not isinstance(node, yaml.ScalarNode):
            tag = node.tag.replace(TAG, "!!")
            self._complain(line, path, f"the tag {tag} is not allowed; a study has plain values alone")
            return None
        if node.tag == TAG + "str":
            return self._text(node, line, path)
        try:
            return read(node.value)
        except (ValueError, KeyError):
            self._complain(line, path, f"cannot be read as {node.tag.removeprefix(TAG)}: {_shown(node)}")
            return None

    def _text(self, node: yaml.ScalarNode, line: int, path: str) -> str:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._complain(line, path, "the text has half a surrogate pair, which is no character")
            return "?"
        return text

    def _complain(self, line: int, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, path, message))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text}")
    return value


SCALARS: dict[str, Callable[[str], Scalar]] = {
    TAG + "null": lambda text: {"~": None, "null": None, "": None}[text.lower()],
    TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    TAG + "int": int,
    TAG + "float": _number,
    TAG + "str": str,
}


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        text = str(node.value)
        return text if len(text) <= 40 else f"{text[:40]}..."
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
